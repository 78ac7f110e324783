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
from talkies.training.checkpoint_callback import CheckpointCallback
from talkies.training.config import EmaConfig, StepsConfig
from talkies.training.ema_callback import EmaCallback
from talkies.training.phase import Phase
from talkies.training.stop_agreement import BROKEN, StopAgreement


class SampleCounter(Callback):
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


class StopCallback(Callback):
    """Stops training after an optimizer step if all ranks agree on it, or if a checkpoint has failed. `stopped_by`: the
    cause. Put it before `checkpoint_callback`, which then saves that step."""

    activities: ClassVar = {"on_train_batch_end": CHECKPOINT, "on_train_end": CHECKPOINT}

    def __init__(self, agreement: StopAgreement, checkpoint_callback: CheckpointCallback, last: int) -> None:
        self.agreement, self.checkpoint_callback, self.last = agreement, checkpoint_callback, last
        self.stopped_by: str | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Phase, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """After the last micro-batch of a step."""
        del outputs, batch
        step = trainer.global_step
        if not pl_module.ends_step(batch_idx):
            return
        if self.agreement.stop(step, last=step == self.last, failed=self.checkpoint_callback.failed):
            self.checkpoint_callback.wait()  # raises in all ranks if a failed checkpoint is the reason
            self.stopped_by = self.agreement.cause(step)
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: Phase) -> None:
        """Finish the pending collective before the ranks end."""
        del trainer, pl_module
        self.agreement.finish_pending()

    def on_exception(self, trainer: Trainer, pl_module: Phase, exception: BaseException) -> None:
        """The same; the other ranks may be gone."""
        del trainer, pl_module
        try:
            self.agreement.finish_pending(BROKEN)
        except RuntimeError as error:
            exception.add_note(f"the other processes no longer answered: {error}")


class ClaimSignals(Callback):
    """Claims the signals during training, so that `stop` handles them. Put it after `CheckpointCallback`:
    signals stay claimed while the last checkpoint is being written, and repeated ones change nothing."""

    def __init__(self, stop: StopCallback) -> None:
        self.stop = stop

    def on_train_start(self, trainer: Trainer, pl_module: Phase) -> None:
        """Claim the signals: the state is restored, and from now on there is something to save."""
        del trainer, pl_module
        self.stop.agreement.listen()

    def on_train_end(self, trainer: Trainer, pl_module: Phase) -> None:
        """Release the signals."""
        del pl_module
        finished = trainer.global_step >= self.stop.last
        self.stop.agreement.release_signals(stopped_by=None if finished else self.stop.stopped_by)

    def on_exception(self, trainer: Trainer, pl_module: Phase, exception: BaseException) -> None:
        """Release the signals."""
        del trainer, pl_module, exception
        self.stop.agreement.release_signals()


@dataclass(frozen=True, kw_only=True)
class AfterStep:
    """The callbacks of one fit, in the order in which they run."""

    counter: SampleCounter
    ema_callback: EmaCallback
    stop: StopCallback
    checkpoint_callback: CheckpointCallback
    signals: ClaimSignals

    @property
    def callbacks(self) -> list[Callback]:
        """For the trainer."""
        return [self.counter, self.ema_callback, self.stop, self.checkpoint_callback, self.signals]


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
    """Compose the callbacks. Training stops after optimizer step `stop_at`; the other keywords are those of
    `CheckpointCallback`. Every process of `ranks` has these callbacks; a signal to one stops all at the same step."""
    ranks, ema_callback = ranks or Ranks(ALONE), EmaCallback(ema)
    checkpoint_callback = CheckpointCallback(
        store, steps, ema_callback, data, resume=resume, ranks=ranks, saved=saved, protect=protect, **options
    )
    stop = StopCallback(StopAgreement(ranks, stop_at), checkpoint_callback, steps.max)
    return AfterStep(
        counter=SampleCounter(data, steps.global_batch),
        ema_callback=ema_callback,
        stop=stop,
        checkpoint_callback=checkpoint_callback,
        signals=ClaimSignals(stop),
    )
