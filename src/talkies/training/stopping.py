"""A stop of training that all processes agree on, at the same optimizer step, without waiting for each other."""

import signal
import threading
from datetime import timedelta
from types import FrameType
from typing import Any

from talkies.parallel.ranks import Answer, Ranks

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
LATE = timedelta(minutes=10)
"""How long an answer is waited for when training has ended: the others are within a step of here, or hang."""
BROKEN = timedelta(seconds=10)
"""The same after an error, where the others may be gone."""


class Stopping:
    """Signals to this process, the stop after step `at`, and what the other processes have heard.

    A process alone stops at the end of the step in which a signal comes. Of many, each says at the end of a step what
    it has heard, and all read the answer at the end of the next one, where it has long arrived: they stop one step
    after the signal. `at` is known to all, and so is the last step: there nothing is asked.
    """

    def __init__(self, ranks: Ranks, at: int | None) -> None:
        self.ranks, self.at = ranks, at
        self.asked: str | None = None
        self._answer: Answer | None = None
        self._said = False
        self._handlers: dict[int, Any] = {}

    def stop(self, step: int, *, last: bool, failed: bool = False) -> bool:
        """Whether training stops at the end of `step`. Every process calls it, once per step; `last`: no other step
        follows; `failed`: this process needs the others to stop for another reason."""
        answer, self._answer = self._answer, None
        found = answer is not None and answer.wait()
        if self.ranks.group is None:
            found = self._said = self.asked is not None
            return found or failed or self._due(step)
        if not (found or last or self._due(step)):
            # A signal may come while this is sent: it counts in the next step.
            self._said = self.asked is not None
            self._answer = self.ranks.ask(self._said or failed)
        return found or self._due(step)

    def cause(self, step: int) -> str:
        """What a stop at `step` is due to: `at`, or what the first process that had asked for it has heard. Every
        process calls it."""
        if self._due(step):
            return f"--stop-at {step}"
        heard = self.ranks.gather(self.asked if self._said else None)
        return next(cause for cause in heard if cause is not None)

    def settle(self, patience: timedelta = LATE) -> None:
        """Leave no question open: no collective may be under way when the processes part. Raises RuntimeError where
        another process is gone, or does not answer within `patience`."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.wait(patience)

    def listen(self) -> None:
        """Turn SIGINT, SIGTERM and SIGUSR1 into a stop. A second SIGINT acts as it did before; the others may be told
        twice (by a launcher, too), and an end overrules a preemption.

        In `fit` and not before it, for Lightning's own SIGTERM handler would raise in the middle of a step.
        """
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.getsignal(number) for number in STOPS}
            for number in self._handlers:
                signal.signal(number, self._hear)

    def hush(self) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def hand_on(self) -> None:
        """A signal that came too late to stop anything goes to who listened before training did."""
        if self.asked is not None and callable(signal.getsignal(signal.Signals[self.asked])):
            signal.raise_signal(signal.Signals[self.asked])

    def _due(self, step: int) -> bool:
        return self.at is not None and step >= self.at

    def _hear(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGUSR1 or self.asked is None:
            self.asked = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, self._handlers[number])
