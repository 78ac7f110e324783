"""Training in a separate process, which is sent a signal."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from toy_run import TINY

LONG = [text for text in TINY if not text.startswith(("steps.max", "validation.every"))]
LONG += ["steps.max=5000", "validation.every=5000"]
PROGRAM = ("-m", "talkies.cli.main")
SLOW = """
import os, sys, time
from pathlib import Path
import {module}
from talkies.cli.main import run
real = {module}.{name}
def slow(*args, **options):
    Path({marker!r} + os.environ.get("RANK", "")).write_text(str(os.getpid()))
    time.sleep(300)
    return real(*args, **options)
{module}.{name} = slow
sys.exit(run())
"""
"""A program like `talkies` with one function that takes minutes, as on a slow disk or for a large model. A file, named
by the marker and the rank, appears when the function is called, and holds its process id."""


def saved(runs: Path) -> bool:
    """Whether a run there has a checkpoint."""
    return any(runs.glob("*/0001/checkpoints/step-*/manifest.json"))


def line_after_signal(
    number: signal.Signals, words: Sequence[str], *, ready: Callable[[], bool], program: Sequence[str] = PROGRAM
) -> str:
    """Train until it is `ready`, send signal `number`, and return the one line that is printed."""
    command = [sys.executable, *program, "train", *words, "--quiet"]
    # A shell may have started these tests in the background, where SIGINT is ignored; children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    while not ready():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    (message,) = (line for line in errors.splitlines() if line.startswith("talkies: "))
    return message
