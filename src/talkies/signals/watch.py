"""The watcher of a `talkies` process: a thread that ends the process if nothing handles a signal in time.

The main thread may be inside an import, a library or a system call that continues after a signal; an exception raised
there would be lost or break things. So the main thread must check itself (`answer.check_signal`); if it does not in
time, this thread writes the one line and ends the process. No file is damaged by that: files are written aside, then
renamed.
"""

import fcntl
import os
import select
import signal
import threading
import time
from collections.abc import Callable

from talkies.signals.flag import FLAG, Interruption, exit_if_code_set

GRACE_S = 2.0
"""How long the main thread may take to look at the flag."""
ENDING_S = 4.5
"""How long it may take to clean up after it has seen the flag."""
AGAIN_S = 1.0
"""A second SIGINT at least this much later ends the process even if the signal is claimed; an earlier one belongs to
the same Ctrl-C."""
ACT_S, REQUEUE_S = 1.0, 150.0
"""How long to wait for each action before the end, and for Slurm to requeue the job."""
TICK_S = 0.05
SHOW_CURSOR = b"\x1b[?25h"


def start() -> None:
    """Start the thread. The signal itself wakes it, even if the main thread cannot run a handler."""
    reading, writing = map(_moved, os.pipe())
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), daemon=True, name="signals").start()


def _moved(end: int) -> int:
    """The same end of a pipe, non-blocking, and with a number that no closed standard stream may have."""
    moved = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(end)
    os.set_blocking(moved, False)
    return moved


def _watch(reading: int) -> None:
    while True:
        select.select([reading], [], [], None if FLAG.name is None else TICK_S)
        for number in _received(reading):
            again = FLAG.name is not None and time.monotonic() - FLAG.since > AGAIN_S
            FLAG.forced |= number == signal.SIGINT and again
            FLAG.note(number)
        if FLAG.name is not None and _due(time.monotonic()):
            _end_process()


def _received(reading: int) -> list[int]:
    try:
        return [number for number in os.read(reading, 4096) if number in FLAG.replaced]
    except BlockingIOError:
        return []


def _due(now: float) -> bool:
    if FLAG.settled or FLAG.protections:
        return False
    if FLAG.forced:
        return True
    if FLAG.claims or (_preempted() and FLAG.requeue is None and os.environ.get("TALKIES_REQUEUE") == "1"):
        return False  # a claimed signal is handled elsewhere; a preempted job must first be able to requeue itself
    patience = ENDING_S if FLAG.raised or FLAG.handled else GRACE_S
    return now - max(FLAG.since, FLAG.released) > patience


def _preempted() -> bool:
    return FLAG.name == signal.SIGUSR1.name


def _end_process() -> None:
    """Call the registered actions, write the one line, and end the process."""
    for act in reversed(FLAG.actions):
        _within(ACT_S, act)
    if _preempted() and FLAG.requeue is not None:
        _within(REQUEUE_S, FLAG.requeue)
        os._exit(0)
    if os.isatty(1):
        os.write(1, SHOW_CURSOR)  # a progress bar hides it
    if not follower():
        os.write(2, f"talkies: interrupted by {FLAG.name}\n".encode())
    os._exit(Interruption.exit_code)


def _within(seconds: float, act: Callable[[], None]) -> None:
    """Call `act`, but wait for `seconds` at most: a disk may hang."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)


def follower() -> bool:
    """Whether this is one of several processes but not the first, which reports errors for all."""
    step = "SLURM_STEP_ID" in os.environ
    rank = os.environ.get("RANK") or (os.environ.get("SLURM_PROCID") if step else None)
    return rank not in (None, "", "0")


def set_exit_code(code: int) -> int:
    """Settle `code` as the exit code: no later signal changes it. Functions registered with `atexit` still run, except
    after a received signal."""
    FLAG.settled, FLAG.code = True, code
    for number in FLAG.replaced:
        signal.signal(number, signal.SIG_IGN)
    if FLAG.name is not None:
        exit_if_code_set()
    return code
