"""Tests here share the analytic models of tests/generate, and the processes of tests/parallel."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "generate"))
sys.path.append(str(Path(__file__).parents[1] / "parallel"))
