"""The small codecs, release.json, streams and systems of other tests serve what is made here."""

import sys
from pathlib import Path

for folder in ("codecs", "tracking", "models", "systems"):
    sys.path.append(str(Path(__file__).parents[1] / folder))
