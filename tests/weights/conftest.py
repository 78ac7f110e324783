"""The small codecs, release.json and streams of other tests serve what is made here."""

import sys
from pathlib import Path

for folder in ("codecs", "tracking", "models", "models/cogvideox"):
    sys.path.append(str(Path(__file__).parents[1] / folder))
