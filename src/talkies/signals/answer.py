"""Check the flag (after a step, a wait, an import), or claim the signals to handle them elsewhere."""

import signal
import threading
import time
from _thread import get_ident
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from talkies.signals.flag import FLAG, Interruption, install, record_signal

POLL_S = 0.05
_lock = threading.Lock()


@contextmanager
def listening() -> Iterator[None]:
    """Within the block signals set the flag, also in a process that is not `talkies`; the old handlers are restored
    afterwards. Does nothing if handlers are installed already, or outside of the main thread."""
    if FLAG.replaced or threading.current_thread() is not threading.main_thread():
        yield
        return
    install()
    try:
        yield
    finally:
        for number, handler in FLAG.replaced.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        FLAG.replaced, FLAG.terminals = {}, ()
        FLAG.clear()


def signal_name() -> str | None:
    """The name of the signal that was received, or None."""
    return FLAG.name


def check_signal() -> None:
    """Raise Interruption if a signal was received and is not claimed: once, and only in the main thread."""
    if FLAG.name is not None and not (FLAG.claims or FLAG.raised or FLAG.handled) and get_ident() == FLAG.main:
        FLAG.raised = True
        raise Interruption(FLAG.name)


def pause(seconds: float) -> None:
    """Sleep, but `check_signal` all the time. (time.sleep continues after a signal.)"""
    end = time.monotonic() + seconds
    check_signal()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, POLL_S))
        check_signal()


def until(done: Callable[[], bool], seconds: float) -> bool:
    """Wait until `done()`, until a signal is received, or for `seconds`; returns whether it is done."""
    end = time.monotonic() + seconds
    while not done():
        if FLAG.name is not None or time.monotonic() >= end:
            return False
        time.sleep(POLL_S)
    return True


@contextmanager
def claimed() -> Iterator[None]:
    """Within the block the caller handles signals (see `signal_name`) at a moment of its choice. Handlers that a
    library has installed are replaced by ours."""
    if get_ident() == FLAG.main:
        for number in FLAG.replaced:
            signal.signal(number, record_signal)
    FLAG.claims += 1
    try:
        yield
    finally:
        FLAG.claims -= 1
        FLAG.released = time.monotonic()


def mark_handled(name: str | None = None) -> None:
    """The signal has been handled: the process is about to end, and `check_signal` no longer raises. `name`: the
    signal, which another process may have received on behalf of this one."""
    FLAG.name = FLAG.name or name
    FLAG.handled = FLAG.name is not None


@contextmanager
def protected() -> Iterator[None]:
    """The block always runs to its end, even after a second SIGINT. For any thread."""
    with _lock:
        FLAG.protections += 1
    try:
        yield
    finally:
        with _lock:
            FLAG.protections -= 1


@contextmanager
def before_end(act: Callable[[], None]) -> Iterator[None]:
    """If a signal ends the process within the block without a `check_signal`, `act` is called first (in another thread,
    for at most a second)."""
    FLAG.actions.append(act)
    try:
        yield
    finally:
        with suppress(ValueError):
            FLAG.actions.remove(act)


def requeue_by(requeue: Callable[[], None] | None) -> None:
    """Set how to requeue the job if SIGUSR1, a preemption, arrives before or after training."""
    FLAG.requeue = requeue


def received(since: int = 0) -> list[int]:
    """The numbers of all received signals, without the first `since`."""
    return FLAG.received[since:]
