"""Training in a process of its own, which is sent a signal."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from toy_journey import TINY

LONG = [text for text in TINY if not text.startswith(("steps.max", "validation.every"))]
LONG += ["steps.max=5000", "validation.every=5000"]
SAVED = "*/0001/checkpoints/step-*/manifest.json"


def last_words(number: signal.Signals, words: Sequence[str], *, runs: Path) -> str:
    """Train until the first checkpoint below `runs`, send signal `number`, and return the one line that is said."""
    command = [sys.executable, "-m", "talkies.cli.main", "train", *words, "--runs", str(runs), "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list(runs.glob(SAVED)):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    (told,) = (line for line in errors.splitlines() if line.startswith("talkies: "))
    return told
