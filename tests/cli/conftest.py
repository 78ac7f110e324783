"""The fixture of toy_run for every test of this folder; the MLflow servers of the tracking tests."""

import sys
from pathlib import Path

from toy_run import toy_run

sys.path.append(str(Path(__file__).parents[1] / "tracking"))

__all__ = ["toy_run"]
