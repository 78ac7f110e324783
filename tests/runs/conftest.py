"""Tests here share the analytic models of tests/generate."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "generate"))
