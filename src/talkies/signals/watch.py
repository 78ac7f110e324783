"""The watcher of a process that is `talkies`: a signal that nobody answers ends the process all the same.

The main thread may be inside an import, a library or a system call that goes on after a signal; raising there would be
lost or break things. So it is asked to look (`answer.look`), and where it does not in time this thread writes the one
line and ends the process. Nothing half written is lost by that: every file is written aside first.
"""

import fcntl
import os
import select
import signal
import threading
import time
from collections.abc import Callable

from talkies.signals.flag import FLAG, Interruption, leave

GRACE_S = 2.0
"""How long the main thread may take to look at the flag."""
ENDING_S = 4.5
"""How long it may take, once it has seen it, to clean up."""
AGAIN_S = 1.0
"""Another SIGINT this much later ends even what would answer by itself; an earlier one is of the same Ctrl-C."""
ACT_S, REQUEUE_S = 1.0, 150.0
"""How long is waited for what is to be done before the end; Slurm may need its time."""
TICK_S = 0.05
SHOW_CURSOR = b"\x1b[?25h"


def start() -> None:
    """Watch, in a thread of its own. The signal itself wakes it, also where the main thread cannot run a handler."""
    reading, writing = map(_apart, os.pipe())
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), daemon=True, name="signals").start()


def _apart(end: int) -> int:
    """The same end of a pipe, not blocking, and not in the place of a standard stream that is closed."""
    moved = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(end)
    os.set_blocking(moved, False)
    return moved


def _watch(reading: int) -> None:
    while True:
        select.select([reading], [], [], None if FLAG.name is None else TICK_S)
        for number in _received(reading):
            again = FLAG.name is not None and time.monotonic() - FLAG.since > AGAIN_S
            FLAG.impatient |= number == signal.SIGINT and again
            FLAG.note(number)
        if FLAG.name is not None and _due(time.monotonic()):
            cut()


def _received(reading: int) -> list[int]:
    try:
        return [number for number in os.read(reading, 4096) if number in FLAG.before]
    except BlockingIOError:
        return []


def _due(now: float) -> bool:
    if FLAG.settled or FLAG.kept:
        return False
    if FLAG.impatient:
        return True
    if FLAG.claims or (_preempted() and FLAG.requeue is None and os.environ.get("TALKIES_REQUEUE") == "1"):
        return False  # who claims answers; a job that is preempted is not ended before it can queue itself again
    patience = ENDING_S if FLAG.raised or FLAG.answered else GRACE_S
    return now - max(FLAG.since, FLAG.released) > patience


def _preempted() -> bool:
    return FLAG.name == signal.SIGUSR1.name


def cut() -> None:
    """End the process, with the one line."""
    for act in reversed(FLAG.acts):
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
    """Do it, but do not wait longer: a disk may hang."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)


def follower() -> bool:
    """Whether this is one of several processes and not the first, which says what went wrong for all."""
    step = "SLURM_STEP_ID" in os.environ
    rank = os.environ.get("RANK") or (os.environ.get("SLURM_PROCID") if step else None)
    return rank not in (None, "", "0")


def ended(code: int) -> int:
    """`code`, with which the process ends now: no signal changes that any more. What is registered with `atexit` is
    done before, except after a signal that was heard."""
    FLAG.settled, FLAG.code = True, code
    for number in FLAG.before:
        signal.signal(number, signal.SIG_IGN)
    if FLAG.name is not None:
        leave()
    return code
