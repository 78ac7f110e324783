"""The fixtures of toy runs for every test of this folder; the MLflow servers of the tracking tests."""

import sys
from pathlib import Path

from mirage_run import mirage_run
from toy_run import toy_run

sys.path.append(str(Path(__file__).parents[1] / "tracking"))

__all__ = ["mirage_run", "toy_run"]
