"""Fixtures of tiny_phase for every test of this folder, over the shards of the parallel tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "parallel"))

from tiny_phase import build, shards

__all__ = ["build", "shards"]
