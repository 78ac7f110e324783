"""Every test of this folder draws the same random numbers, and finds the small networks of all systems."""

import sys
from pathlib import Path

import pytest
import torch

for folder in ("parallel", "models/cogvideox", "models/mochi", "models/mtv"):
    sys.path.append(str(Path(__file__).parents[1] / folder))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
