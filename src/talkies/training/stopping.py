"""A stop of training that all processes agree on, at the same optimizer step, without waiting for each other."""

from contextlib import ExitStack
from datetime import timedelta

from talkies.parallel.ranks import Answer, Ranks
from talkies.signals import answer

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
        self._answer: Answer | None = None
        self._said = False
        self._held = ExitStack()

    @property
    def asked(self) -> str | None:
        """The signal that this process has heard."""
        return answer.asked()

    def stop(self, step: int, *, last: bool, failed: bool = False) -> bool:
        """Whether training stops at the end of `step`. Every process calls it, once per step; `last`: no other step
        follows; `failed`: this process needs the others to stop for another reason."""
        before, self._answer = self._answer, None
        found = before is not None and before.wait()
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

    def finish_pending(self, patience: timedelta = LATE) -> None:
        """Leave no question open: no collective may be under way when the processes part. Raises RuntimeError where
        another process is gone, or does not answer within `patience`."""
        before, self._answer = self._answer, None
        if before is not None:
            before.wait(patience)

    def listen(self) -> None:
        """Claim the signals: from now on they stop training at the end of a step. A process alone is ended by one that
        came before, with nothing made that would have to be saved; several agree at the end of the first step."""
        self._held.enter_context(answer.listening())
        if self.ranks.world.size == 1:
            answer.look()
        self._held.enter_context(answer.claimed())

    def release_signals(self, *, stopped_by: str | None = None) -> None:
        """Give the signals back; `stopped_by`: what stopped all, here or in another process, and is done with. What
        came too late to stop anything is there for who looks next."""
        if stopped_by is not None:
            answer.answered(stopped_by if stopped_by.startswith("SIG") else None)
        self._held.close()

    def _due(self, step: int) -> bool:
        return self.at is not None and step >= self.at
