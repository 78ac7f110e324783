"""The fixtures of toy runs for every test of this folder; MLflow servers of the tracking tests, and made weights."""

import sys
from pathlib import Path

from mirage_run import mirage_run, voices_run
from mtv_run import mtv_run
from toy_run import toy_run

for folder in ("tracking", "codecs", "weights", "models/cogvideox"):
    sys.path.append(str(Path(__file__).parents[1] / folder))

from speaking import here, speaking, stage  # noqa: E402 - it is made of what these folders have

__all__ = ["here", "mirage_run", "mtv_run", "speaking", "stage", "toy_run", "voices_run"]
