"""Checkpoints of a phase: written at optimizer-step boundaries, restored bitwise."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning import Callback, Trainer
from torch import Tensor

from talkies.checkpoints.gathered import RECORD as GATHERED
from talkies.checkpoints.spans import local
from talkies.checkpoints.state import load_ema, load_state
from talkies.checkpoints.store import CheckpointStore
from talkies.data.module import ClipsData
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.resilience.activity import CHECKPOINT, RESTORING
from talkies.resilience.config import SurvivalConfig
from talkies.resilience.guard import BackError
from talkies.resilience.quarantine import Quarantine
from talkies.training.config import EmaConfig, StepsConfig
from talkies.training.ema import Ema
from talkies.training.held import write
from talkies.training.metrics import TrainingMetrics
from talkies.training.phase import Phase
from talkies.training.stopping import BROKEN, Stopping
from talkies.training.writing import Writer

_log = logging.getLogger(__name__)


class Saving(Callback):
    """Counts what was trained on, keeps the EMA, saves, resumes, and stops at a step boundary when asked.

    It is one callback because a checkpoint must see all of these at the same step. `resume` is the folder of a
    verified checkpoint; training stops after optimizer step `stop_at`; `saved(step, folder)` is told of every new one,
    and `protect(step)` asked before an old one goes, in the thread that writes; `quarantine` is settled in every
    process before its state is taken, and what it and `metrics` have gathered since their last report is part of it.
    Checkpoints are written in the background, of a copy of the state; `failed_saves` of the periodic ones may fail in a
    row for want of room, the last one and that of a stop may not. Every process has one; a signal to one of them stops
    all at the same step. `recipe` is the hash that every checkpoint names.
    """

    activities: ClassVar = {"on_train_start": RESTORING, "on_train_batch_end": CHECKPOINT, "on_train_end": CHECKPOINT}

    def __init__(
        self,
        store: CheckpointStore,
        steps: StepsConfig,
        ema: EmaConfig,
        data: ClipsData,
        *,
        resume: Path | None = None,
        stop_at: int | None = None,
        saved: Callable[[int, Path], None] | None = None,
        protect: Callable[[int], bool] | None = None,
        failed_saves: int = SurvivalConfig().failed_saves,
        ranks: Ranks | None = None,
        recipe: str | None = None,
        quarantine: Quarantine | None = None,
        metrics: TrainingMetrics | None = None,
    ) -> None:
        self.quarantine = quarantine
        gatherers: dict[str, TrainingMetrics | Quarantine | None] = {"metrics": metrics, "quarantine": quarantine}
        self._gatherers = {name: gatherer for name, gatherer in gatherers.items() if gatherer is not None}
        self.store, self.steps, self.ema_config, self.data = store, steps, ema, data
        self.resume, self.recipe = resume, recipe
        self.ema: Ema | None = None
        self.stopped_by: str | None = None
        self.failure: Exception | None = None
        """Why the checkpoint that was being written when `fit` raised something else is not there, in all processes."""
        self.ranks = ranks or Ranks(ALONE)
        self.stopping = Stopping(self.ranks, stop_at)
        self._writer = Writer(
            store,
            self.ranks,
            keep=steps.keep,
            may_fail=failed_saves,
            protect=protect or (lambda _: False),
            saved=saved or (lambda *_: None),
        )
        self._last_saved = -1

    def on_train_start(self, trainer: Trainer, pl_module: Phase) -> None:
        """Build the EMA, then put back what the checkpoint holds."""
        self.ema = Ema(pl_module.trainable(), self.ema_config)
        if self.resume is not None:
            gathered = restore(self.resume, pl_module, self.ema, self.ranks)
            for name, gatherer in self._gatherers.items():
                kept = [found[name] for found in gathered if found.get(name) is not None]
                try:
                    gatherer.load_state_dicts(kept, pl_module.device)
                except ValueError as error:
                    raise GATHERED.damaged(f"what {self.resume} has gathered", f"its {error}") from None
            self._last_saved = trainer.global_step
        self.stopping.listen()

    def on_train_end(self, trainer: Trainer, pl_module: Phase) -> None:
        """End the checkpoint that is being written, and give the signals back.

        Until then who tells a stopping run to stop once more (a launcher does) changes nothing.
        """
        del pl_module
        self.stopping.finish_pending()
        self._writer.wait()
        self.stopping.release_signals(stopped_by=None if trainer.global_step >= self.steps.max else self.stopped_by)

    def on_exception(self, trainer: Trainer, pl_module: Phase, exception: BaseException) -> None:
        """Give the signals back, and end the checkpoint that is being written, if it still can be."""
        del trainer, pl_module
        try:
            self.stopping.finish_pending(BROKEN)
        except RuntimeError as error:
            exception.add_note(f"the other processes were not there any more: {error}")
        try:
            self._writer.wait()
        except Exception as error:
            if error is not exception:
                self.failure = error
                if not isinstance(exception, BackError):  # who goes back tells of it
                    _log.warning("checkpoint: that of step %d was not written: %s", self._last_saved, error)
        self.stopping.release_signals()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Phase, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """After an optimizer step: count, average, and save where a save is due."""
        del outputs, batch
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        assert self.ema is not None
        self.data.advance(self.steps.global_batch)
        if not pl_module.guard.skip:
            self.ema.update(pl_module.trainable())
        step, last = trainer.global_step, trainer.global_step == self.steps.max
        stop = self.stopping.stop(step, last=last, failed=self._writer.failed)
        if stop:
            self._writer.wait()  # a checkpoint that failed is why all stop: it raises here, in all
            self.stopped_by = self.stopping.cause(step)
            trainer.should_stop = True
        if self._due(step) or stop:
            self.save(trainer, pl_module, needed=last or stop)

    def _due(self, step: int) -> bool:
        """Whether a checkpoint is made of `step` where nobody is told to stop."""
        return step % self.steps.checkpoint_every == 0 or step == self.steps.max

    def save(self, trainer: Trainer, phase: Phase, *, needed: bool = True) -> None:
        """Write the state of this optimizer step, once; `needed`: the run cannot go on without."""
        step = trainer.global_step
        if step == self._last_saved:
            return
        assert self.ema is not None
        if self.quarantine is not None:
            self.quarantine.exchange(step, report=self._due(step))
        state = capture(trainer, phase, self.ema, self.data)
        state["loop"]["recipe"] = self.recipe
        state["gathered"] = {name: gatherer.state_dict() for name, gatherer in self._gatherers.items()}
        self._writer.start(step, state, needed=needed)
        self._last_saved = step

    def recall(self, phase: Phase) -> None:
        """Put the averages of `resume` back without a trainer: for a run whose last step is already done."""
        assert self.resume is not None
        phase.configure_model()
        phase.to(next(phase.model.parameters()).device)  # Lightning's own idea of where the module is
        self.ema = Ema(phase.trainable(), self.ema_config)
        self.ema.averages = load_ema(self.resume, phase.trainable(), collective=self.ranks, group=self.ranks.group)
        phase.eval()


def capture(trainer: Trainer, phase: Phase, ema: Ema, data: ClipsData) -> dict[str, Any]:
    """Everything that the rest of the run depends on, under the names of `save_state`."""
    return {
        "model": phase.held.weights(),
        "optimizer": phase.held.moments(),
        "ema": ema.averages,
        "loop": {
            "step": trainer.global_step,
            "data": data.state_dict(),
            "ema_updates": ema.updates,
            "guard": phase.guard.state_dict(),
        },
        "generators": generators(phase.device),
    }


def restore(folder: Path, phase: Phase, ema: Ema, ranks: Ranks) -> list[dict[str, Any]]:
    """The inverse of `capture`, for all but the data's counter and the loop's (`rewind` puts them back earlier).
    Returns what was gathered for the metrics."""
    held = phase.held
    state = load_state(folder, model=held.weights(), ema=ema.averages, collective=ranks, group=ranks.group)
    write(state.model, held)
    held.restore(state.optimizer)
    for name, average in ema.averages.items():
        local(average).copy_(local(state.ema[name]))
    ema.updates = int(state.loop["ema_updates"])
    phase.guard.load_state_dict(state.loop["guard"])
    torch.set_rng_state(state.generators["torch"])
    if phase.device.type == "cuda" and "cuda" in state.generators:
        torch.cuda.set_rng_state(state.generators["cuda"], phase.device)
    return state.gathered


def generators(device: torch.device) -> dict[str, Tensor]:
    """The states of the generators that a step on `device` may draw from (LoRA's dropout)."""
    found = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def rewind(trainer: Trainer, data: ClipsData, loop: dict[str, Any]) -> None:
    """Set the trainer's optimizer-step counter and the data's sample counter before `fit` builds its loader."""
    progress = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    progress.ready = progress.completed = int(loop["step"])
    data.load_state_dict(loop["data"])
