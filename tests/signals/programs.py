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
vars(watch).update({limits})
def ready():
    print("ready", flush=True)
"""
PATIENCE_S = 120
PACE = 4
"""All time limits are divided by this, to make the tests faster."""
UNHURRIED = 1 / 20
"""The pace of a process that must look at a signal itself, however slow the machine is."""


def started(
    body: str,
    *,
    pace: float = PACE,
    environment: dict[str, str] | None = None,
    ignored: Sequence[int] = (),
    **limits: float,
) -> "Program":
    """A process that runs `body` after HEAD, and has reached its `ready()`. `limits`: time limits of its watcher by
    name, in place of those that `pace` makes."""

    def set_handlers() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    options = {"env": {**os.environ, "PYTHONPATH": str(SOURCE), **(environment or {})}, "preexec_fn": set_handlers}
    words = [sys.executable, "-c", HEAD.format(pace=pace, limits=limits) + textwrap.dedent(body)]
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
