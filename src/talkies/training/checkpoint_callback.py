"""Checkpoints of a phase: written at optimizer-step boundaries, restored bitwise."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning import Callback, Trainer
from torch import Tensor

from talkies.checkpoints.per_rank_state import RECORD as GATHERED
from talkies.checkpoints.spans import local
from talkies.checkpoints.state import load_ema, load_state
from talkies.checkpoints.store import CheckpointStore
from talkies.data.module import ClipsData
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.resilience.activity import CHECKPOINT, RESTORING
from talkies.resilience.config import SurvivalConfig
from talkies.resilience.guard import RollbackError
from talkies.resilience.quarantine import Quarantine
from talkies.training.async_writer import AsyncWriter
from talkies.training.config import StepsConfig
from talkies.training.ema import Ema
from talkies.training.ema_callback import EmaCallback
from talkies.training.metrics import TrainingMetrics
from talkies.training.phase import Phase
from talkies.training.state import write

_log = logging.getLogger(__name__)


class CheckpointCallback(Callback):
    """Saves checkpoints at the end of optimizer steps, and resumes from one.

    `resume` is the folder of a verified checkpoint. `saved(step, folder)` is called for every new checkpoint, and
    `protect(step)`, in the writing thread, before an old one is deleted. Processes exchange their `quarantine` before
    its state is captured; a checkpoint also holds what it and `metrics` have gathered since their last report. A copy
    of the state is written in the background. `failed_saves` periodic checkpoints in a row may fail for lack of disk
    space, but not the last one, nor that of a stop. Every process has this callback. `recipe` is the recipe hash that
    every checkpoint names.
    """

    activities: ClassVar = {"on_train_start": RESTORING, "on_train_batch_end": CHECKPOINT, "on_train_end": CHECKPOINT}

    def __init__(
        self,
        store: CheckpointStore,
        steps: StepsConfig,
        ema_callback: EmaCallback,
        data: ClipsData,
        *,
        resume: Path | None = None,
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
        self.store, self.steps, self.ema_callback, self.data = store, steps, ema_callback, data
        self.resume, self.recipe = resume, recipe
        self.failure: Exception | None = None
        """Why a checkpoint that was being written when `fit` raised another error was not completed; on all ranks."""
        self.ranks = ranks or Ranks(ALONE)
        self._writer = AsyncWriter(
            store,
            self.ranks,
            keep=steps.keep,
            may_fail=failed_saves,
            protect=protect or (lambda _: False),
            saved=saved or (lambda *_: None),
        )
        self._last_saved = -1

    @property
    def failed(self) -> bool:
        """Whether `wait` will raise."""
        return self._writer.failed

    def wait(self) -> None:
        """Wait until no checkpoint is being written; raises the error of a failed one."""
        self._writer.wait()

    def on_train_start(self, trainer: Trainer, pl_module: Phase) -> None:
        """Restore the checkpoint."""
        if self.resume is None:
            return
        gathered = restore(self.resume, pl_module, self.ema_callback.ema, self.ranks)
        for name, gatherer in self._gatherers.items():
            states = [of_rank[name] for of_rank in gathered if of_rank.get(name) is not None]
            try:
                gatherer.load_state_dicts(states, pl_module.device)
            except ValueError as error:
                raise GATHERED.damaged(f"what {self.resume} has gathered", f"its {error}") from None
        self._last_saved = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: Phase) -> None:
        """Wait for the checkpoint that is being written."""
        del trainer, pl_module
        self.wait()

    def on_exception(self, trainer: Trainer, pl_module: Phase, exception: BaseException) -> None:
        """Wait for the checkpoint that is being written, if it can still be completed."""
        del trainer, pl_module
        try:
            self.wait()
        except Exception as error:
            if error is not exception:
                self.failure = error
                if not isinstance(exception, RollbackError):  # a rollback reports it
                    _log.warning("checkpoint: step %d was not saved: %s", self._last_saved, error)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Phase, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """After the last micro-batch of a step: save if a checkpoint is due, or training stops here."""
        del outputs, batch
        if not pl_module.ends_step(batch_idx):
            return
        step, stops = trainer.global_step, trainer.should_stop
        if stops or self._due(step):
            self.save(trainer, pl_module, needed=stops or step == self.steps.max)

    def _due(self, step: int) -> bool:
        """Whether a checkpoint of `step` is due without a stop."""
        return step % self.steps.checkpoint_every == 0 or step == self.steps.max

    def save(self, trainer: Trainer, phase: Phase, *, needed: bool = True) -> None:
        """Save the state of this optimizer step, once; `needed`: failing is an error, not a warning."""
        step = trainer.global_step
        if step == self._last_saved:
            return
        if self.quarantine is not None:
            self.quarantine.exchange(step, report=self._due(step))
        state = capture(trainer, phase, self.ema_callback.ema, self.data)
        state["loop"]["recipe"] = self.recipe
        state["gathered"] = {name: gatherer.state_dict() for name, gatherer in self._gatherers.items()}
        self._writer.start(step, state, needed=needed)
        self._last_saved = step

    def recall(self, phase: Phase) -> None:
        """Restore the EMA of `resume` without a trainer: for a run whose last step is already done."""
        assert self.resume is not None
        phase.configure_model()
        phase.to(next(phase.model.parameters()).device)  # sets Lightning's own record of the module's device
        like, ranks = phase.trainable(), self.ranks
        self.ema_callback.begin(phase).averages = load_ema(self.resume, like, ranks=ranks, group=ranks.group)
        phase.eval()


def capture(trainer: Trainer, phase: Phase, ema: Ema, data: ClipsData) -> dict[str, Any]:
    """Everything that the rest of the run depends on, by the keywords of `save_state`."""
    return {
        "model": phase.state.weights(),
        "optimizer": phase.state.moments(),
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
    """The inverse of `capture`, except for the counters of data and loop (`rewind` restores them before `fit`).
    Returns the states of the gatherers (metrics, quarantine) by rank."""
    held = phase.state
    state = load_state(folder, model=held.weights(), ema=ema.averages, ranks=ranks, group=ranks.group)
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
    states = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def rewind(trainer: Trainer, data: ClipsData, loop: dict[str, Any]) -> None:
    """Set the trainer's optimizer-step counter and the data's sample counter before `fit` builds its loader."""
    progress = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    progress.ready = progress.completed = int(loop["step"])
    data.load_state_dict(loop["data"])
