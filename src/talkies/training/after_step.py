"""After an optimizer step samples are counted, the EMA is updated, a stop is agreed on, and a checkpoint is written.

Each of these is a callback; they run in this order, so that a checkpoint holds the state of all at the same step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lightning import Callback, Trainer

from talkies.checkpoints.store import CheckpointStore
from talkies.data.module import ClipsData
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.resilience.activity import CHECKPOINT
from talkies.training.averaging import Averaging
from talkies.training.config import EmaConfig, StepsConfig
from talkies.training.phase import Phase
from talkies.training.saving import Saving
from talkies.training.stopping import BROKEN, Stopping


class Counting(Callback):
    """Advances the position of `data` by `global_batch` samples per optimizer step."""

    def __init__(self, data: ClipsData, global_batch: int) -> None:
        self.data, self.global_batch = data, global_batch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Phase, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """After the last micro-batch of a step."""
        del trainer, outputs, batch
        if pl_module.ends_step(batch_idx):
            self.data.advance(self.global_batch)


class StopWhenAsked(Callback):
    """Stops training after an optimizer step if all ranks agree on it, or if a checkpoint of `saving` has failed.
    `stopped_by`: the cause. Put it before `saving`, which then saves that step."""

    activities: ClassVar = {"on_train_batch_end": CHECKPOINT, "on_train_end": CHECKPOINT}

    def __init__(self, stopping: Stopping, saving: Saving, last: int) -> None:
        self.stopping, self.saving, self.last = stopping, saving, last
        self.stopped_by: str | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Phase, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """After the last micro-batch of a step."""
        del outputs, batch
        step = trainer.global_step
        if not pl_module.ends_step(batch_idx):
            return
        if self.stopping.stop(step, last=step == self.last, failed=self.saving.failed):
            self.saving.wait()  # raises in all ranks if a failed checkpoint is the reason
            self.stopped_by = self.stopping.cause(step)
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: Phase) -> None:
        """Finish the pending collective before the ranks end."""
        del trainer, pl_module
        self.stopping.finish_pending()

    def on_exception(self, trainer: Trainer, pl_module: Phase, exception: BaseException) -> None:
        """The same; the other ranks may be gone."""
        del trainer, pl_module
        try:
            self.stopping.finish_pending(BROKEN)
        except RuntimeError as error:
            exception.add_note(f"the other processes did not answer any more: {error}")


class ClaimSignals(Callback):
    """Claims the signals during training, so that `stop` handles them. Put it after `Saving`: signals stay claimed
    while the last checkpoint is being written, and repeated ones change nothing."""

    def __init__(self, stop: StopWhenAsked) -> None:
        self.stop = stop

    def on_train_start(self, trainer: Trainer, pl_module: Phase) -> None:
        """Claim the signals: the state is restored, and from now on there is something to save."""
        del trainer, pl_module
        self.stop.stopping.listen()

    def on_train_end(self, trainer: Trainer, pl_module: Phase) -> None:
        """Release the signals."""
        del pl_module
        finished = trainer.global_step >= self.stop.last
        self.stop.stopping.release_signals(stopped_by=None if finished else self.stop.stopped_by)

    def on_exception(self, trainer: Trainer, pl_module: Phase, exception: BaseException) -> None:
        """Release the signals."""
        del trainer, pl_module, exception
        self.stop.stopping.release_signals()


@dataclass(frozen=True, kw_only=True)
class AfterStep:
    """The callbacks of one fit, in the order in which they run."""

    counting: Counting
    averaging: Averaging
    stop: StopWhenAsked
    saving: Saving
    signals: ClaimSignals

    @property
    def callbacks(self) -> list[Callback]:
        """For the trainer."""
        return [self.counting, self.averaging, self.stop, self.saving, self.signals]


def after_step(
    store: CheckpointStore,
    steps: StepsConfig,
    ema: EmaConfig,
    data: ClipsData,
    *,
    resume: Path | None = None,
    stop_at: int | None = None,
    ranks: Ranks | None = None,
    saved: Callable[[int, Path], None] | None = None,
    protect: Callable[[int], bool] | None = None,
    **options: Any,
) -> AfterStep:
    """Compose the callbacks. Training stops after optimizer step `stop_at`; the other keywords are those of `Saving`.
    Every process of `ranks` has these callbacks; a signal to one process stops all at the same step."""
    ranks, averaging = ranks or Ranks(ALONE), Averaging(ema)
    saving = Saving(store, steps, averaging, data, resume=resume, ranks=ranks, saved=saved, protect=protect, **options)
    stop = StopWhenAsked(Stopping(ranks, stop_at), saving, steps.max)
    return AfterStep(
        counting=Counting(data, steps.global_batch),
        averaging=averaging,
        stop=stop,
        saving=saving,
        signals=ClaimSignals(stop),
    )
