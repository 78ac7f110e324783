"""The benchmarks are scripts: their folder is put on the import path, as when running one."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
