"""The fixture of toy_journey for every test of this folder; the MLflow servers of the tracking tests."""

import sys
from pathlib import Path

from toy_journey import journey

sys.path.append(str(Path(__file__).parents[1] / "tracking"))

__all__ = ["journey"]
