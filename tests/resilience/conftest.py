"""Fixtures of the tests of training: here things go wrong in their tiny phase."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "parallel"))
sys.path.append(str(Path(__file__).parents[1] / "training"))

from tiny_phase import build, shards

__all__ = ["build", "shards"]
