"""Signals that end a verb, outside of the training loop, which has handlers of its own (training/saving.py)."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from talkies.config.errors import Interruption

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block SIGINT and SIGTERM raise Interruption in the main thread, each time; one that was ignored
    before still is. A forked child gets the handlers from before with its first signal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    mine, found = os.getpid(), {number: signal.getsignal(number) for number in ENDING}
    before = {number: handler for number, handler in found.items() if handler not in (signal.SIG_IGN, None)}

    def interrupt(number: int, _: FrameType | None) -> None:
        if os.getpid() == mine:
            raise Interruption(f"interrupted by {signal.Signals(number).name}")
        signal.signal(number, before[signal.Signals(number)])
        os.kill(os.getpid(), number)

    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
