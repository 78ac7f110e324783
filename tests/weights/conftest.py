"""The small codecs and the release.json of other tests serve what is made here."""

import sys
from pathlib import Path

for folder in ("codecs", "tracking"):
    sys.path.append(str(Path(__file__).parents[1] / folder))
