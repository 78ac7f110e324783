"""Looking at the flag: at the end of a step, of a wait, of an import; and who answers in whose place."""

import signal
import threading
import time
from _thread import get_ident
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from talkies.signals.flag import FLAG, Interruption, hear, install

POLL_S = 0.05
_lock = threading.Lock()


@contextmanager
def listening() -> Iterator[None]:
    """Within the block signals set the flag, in a process that need not be `talkies`; what was there before is there
    after. Nothing happens where somebody listens already, or outside of the main thread."""
    if FLAG.before or threading.current_thread() is not threading.main_thread():
        yield
        return
    install()
    try:
        yield
    finally:
        for number, handler in FLAG.before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        FLAG.before, FLAG.terminals = {}, ()
        FLAG.clear()


def asked() -> str | None:
    """The name of the signal that was heard."""
    return FLAG.name


def look() -> None:
    """Raise Interruption where a signal was heard, once, in the main thread, unless somebody has claimed it."""
    if FLAG.name is not None and not (FLAG.claims or FLAG.raised or FLAG.answered) and get_ident() == FLAG.main:
        FLAG.raised = True
        raise Interruption(FLAG.name)


def pause(seconds: float) -> None:
    """Sleep, and look. (Python's own sleep goes on after a signal.)"""
    end = time.monotonic() + seconds
    look()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, POLL_S))
        look()


def until(done: Callable[[], bool], seconds: float) -> bool:
    """Wait until `done`, for `seconds` at most, or until a signal is heard; returns whether it is done."""
    end = time.monotonic() + seconds
    while not done():
        if FLAG.name is not None or time.monotonic() >= end:
            return False
        time.sleep(POLL_S)
    return True


@contextmanager
def claimed() -> Iterator[None]:
    """Within the block a signal is answered by who has claimed it (`asked`), at a moment of his choice. A library that
    has replaced the handlers loses them."""
    if get_ident() == FLAG.main:
        for number in FLAG.before:
            signal.signal(number, hear)
    FLAG.claims += 1
    try:
        yield
    finally:
        FLAG.claims -= 1
        FLAG.released = time.monotonic()


def answered(name: str | None = None) -> None:
    """What was heard has been done: the process is on its way out, and nobody need look any more. `name`: of the
    signal, which another process may have heard for this one."""
    FLAG.name = FLAG.name or name
    FLAG.answered = FLAG.name is not None


@contextmanager
def kept() -> Iterator[None]:
    """What the block does is done to its end, also after a second SIGINT. For any thread."""
    with _lock:
        FLAG.kept += 1
    try:
        yield
    finally:
        with _lock:
            FLAG.kept -= 1


@contextmanager
def before_end(act: Callable[[], None]) -> Iterator[None]:
    """Where a signal ends the process within the block, but nobody could look, `act` is called first (in another
    thread, for a second at most)."""
    FLAG.acts.append(act)
    try:
        yield
    finally:
        with suppress(ValueError):
            FLAG.acts.remove(act)


def requeue_by(requeue: Callable[[], None] | None) -> None:
    """What SIGUSR1, a preemption, means in this process where nobody trains yet or any more."""
    FLAG.requeue = requeue


def heard(since: int = 0) -> list[int]:
    """The numbers of all signals that were heard, without the first `since`."""
    return FLAG.heard[since:]
