"""The small codecs of other tests serve the folders that are made here."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "codecs"))
