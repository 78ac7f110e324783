"""The fixtures of the tests of training, whose tiny phase is what goes wrong here."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "parallel"))
sys.path.append(str(Path(__file__).parents[1] / "training"))

from tiny_phase import build, shards

__all__ = ["build", "shards"]
