"""Small programs that handle signals like `talkies`."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
HEAD = """
from talkies.signals import entry
entry.listen()
import os, signal, sys, threading, time
from talkies.signals.answer import *
from talkies.signals import watch
from talkies.signals.watch import set_exit_code
for name in ("GRACE_S", "ENDING_S", "AGAIN_S", "ACT_S"):
    setattr(watch, name, getattr(watch, name) / {pace})
watch.AGAIN_S = {again_s} or watch.AGAIN_S
def ready():
    print("ready", flush=True)
"""
PATIENCE_S = 60
PACE = 4
"""All time limits are divided by this, to make the tests faster."""


def started(
    body: str,
    *,
    pace: int = PACE,
    again_s: float | None = None,
    environment: dict[str, str] | None = None,
    ignored: Sequence[int] = (),
) -> "Program":
    """A process that runs `body` after HEAD, and has reached its `ready()`. `again_s`: its AGAIN_S."""

    def set_handlers() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    options = {"env": {**os.environ, "PYTHONPATH": str(SOURCE), **(environment or {})}, "preexec_fn": set_handlers}
    words = [sys.executable, "-c", HEAD.format(pace=pace, again_s=again_s) + textwrap.dedent(body)]
    program = Program(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n", program.communicate()
    return program


class Program(subprocess.Popen[str]):
    """A running program."""

    def send(self, *numbers: int, apart_s: float = 0.01) -> None:
        """Send it signals."""
        for number in numbers:
            self.send_signal(number)
            time.sleep(apart_s)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; its exit code, stdout and stderr."""
        try:
            out, errors = self.communicate(timeout=PATIENCE_S)
        finally:
            self.kill()
        return self.returncode, out, errors
