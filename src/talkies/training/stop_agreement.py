"""Processes agree to stop training at the same optimizer step, without waiting for each other."""

from contextlib import ExitStack
from datetime import timedelta

from talkies.parallel.ranks import Answer, Ranks
from talkies.signals import answer

LATE = timedelta(minutes=10)
"""How long to wait for an answer after training has ended: the other processes are within a step, or hang."""
BROKEN = timedelta(seconds=10)
"""The same after an error, when the other processes may be gone."""


class StopAgreement:
    """Combines signals to any process with the stop after step `at`.

    A single process stops at the end of the step in which a signal arrives. Of several processes, each sends what it
    has received at the end of a step, and all read the result at the end of the next step, when it has long arrived:
    they stop one step after the signal. All know `at` and the last step, so that nothing is exchanged there.
    """

    def __init__(self, ranks: Ranks, at: int | None) -> None:
        self.ranks, self.at = ranks, at
        self._answer: Answer | None = None
        self._sent = False
        self._signals = ExitStack()

    @property
    def signal_name(self) -> str | None:
        """The signal that this process has received."""
        return answer.signal_name()

    def stop(self, step: int, *, last: bool, failed: bool = False) -> bool:
        """Whether training stops at the end of `step`. Every process calls it once per step; `last`: no other step
        follows; `failed`: this process needs all to stop for another reason."""
        pending, self._answer = self._answer, None
        requested = pending is not None and pending.wait()
        if self.ranks.group is None:
            requested = self._sent = self.signal_name is not None
            return requested or failed or self._due(step)
        if not (requested or last or self._due(step)):
            # A signal that arrives while this is sent counts in the next step.
            self._sent = self.signal_name is not None
            self._answer = self.ranks.ask(self._sent or failed)
        return requested or self._due(step)

    def cause(self, step: int) -> str:
        """The cause of a stop at `step`: `at`, or the signal that the first requesting rank has received. Every process
        calls it."""
        if self._due(step):
            return f"--stop-at {step}"
        causes = self.ranks.gather(self.signal_name if self._sent else None)
        return next(cause for cause in causes if cause is not None)

    def finish_pending(self, patience: timedelta = LATE) -> None:
        """Wait for the pending answer: no collective may be under way when the processes end. Raises RuntimeError if
        another process is gone, or does not answer within `patience`."""
        pending, self._answer = self._answer, None
        if pending is not None:
            pending.wait(patience)

    def listen(self) -> None:
        """Claim the signals: from now on they stop training at the end of a step. An earlier signal ends a single
        process here, where there is nothing to save yet; several processes agree at the end of the first step."""
        self._signals.enter_context(answer.listening())
        if self.ranks.world.size == 1:
            answer.check_signal()
        self._signals.enter_context(answer.claimed())

    def release_signals(self, *, stopped_by: str | None = None) -> None:
        """Release the signals. `stopped_by`: what stopped all processes, now handled. A signal that came too late to
        stop anything stays pending for the next `check_signal`."""
        if stopped_by is not None:
            answer.mark_handled(stopped_by if stopped_by.startswith("SIG") else None)
        self._signals.close()

    def _due(self, step: int) -> bool:
        return self.at is not None and step >= self.at
