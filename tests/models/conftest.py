"""The tests of this folder find the small networks of all systems."""

import sys
from pathlib import Path

for folder in ("parallel", "models/cogvideox", "models/mochi", "models/mtv"):
    sys.path.append(str(Path(__file__).parents[1] / folder))
