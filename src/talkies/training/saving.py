"""Checkpoints of a phase: written at optimizer-step boundaries, restored bitwise."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor

from talkies.checkpoints.state import load_ema, load_state, save_state
from talkies.checkpoints.store import CheckpointStore
from talkies.data.module import ClipsData
from talkies.training.config import EmaConfig, StepsConfig
from talkies.training.ema import Ema
from talkies.training.phase import Phase


class Saving(Callback):
    """Counts what was trained on, keeps the EMA, saves, resumes, and stops at a step boundary when asked.

    It is one callback because a checkpoint must see all of these at the same step. `resume` is the folder of a
    verified checkpoint; training stops after optimizer step `stop_at`; `saved(step, folder)` is told of every new one.
    """

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
    ) -> None:
        self.store, self.steps, self.ema_config, self.data = store, steps, ema, data
        self.resume, self.stop_at, self.saved = resume, stop_at, saved
        self.ema: Ema | None = None
        self.stopped_by: str | None = None
        self._last_saved = -1
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: Phase) -> None:
        """Build the EMA, then put back what the checkpoint holds."""
        self.ema = Ema(pl_module.trainable(), self.ema_config)
        if self.resume is not None:
            restore(self.resume, trainer, pl_module, self.ema)
            self._last_saved = trainer.global_step
        self._listen()

    def on_train_end(self, trainer: Trainer, pl_module: Phase) -> None:
        """Give the signals back."""
        del trainer, pl_module
        self._hush()

    def on_exception(self, trainer: Trainer, pl_module: Phase, exception: BaseException) -> None:
        """Give the signals back."""
        del trainer, pl_module, exception
        self._hush()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Phase, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """After an optimizer step: count, average, and save where a save is due."""
        del outputs, batch
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        assert self.ema is not None
        self.data.advance(self.steps.global_batch)
        self.ema.update(pl_module.trainable())
        step = trainer.global_step
        if self.stop_at is not None and step >= self.stop_at:
            self.stopped_by = f"--stop-at {step}"
        if step % self.steps.checkpoint_every == 0 or step == self.steps.max or self.stopped_by:
            self.save(trainer, pl_module)
        if self.stopped_by:
            trainer.should_stop = True

    def save(self, trainer: Trainer, phase: Phase) -> None:
        """Write the state of this optimizer step, once."""
        step = trainer.global_step
        if step == self._last_saved:
            return
        assert self.ema is not None
        state = capture(trainer, phase, self.ema, self.data)
        folder = self.store.save(step, lambda folder: save_state(folder, **state))
        self._last_saved = step
        self.store.retain(self.steps.keep)
        if self.saved is not None:
            self.saved(step, folder)

    def recall(self, phase: Phase) -> None:
        """Put the averages of `resume` back without a trainer: for a run whose last step is already done."""
        assert self.resume is not None
        phase.configure_model()
        self.ema = Ema(phase.trainable(), self.ema_config)
        self.ema.averages = load_ema(self.resume, phase.trainable())
        phase.eval()

    def _listen(self) -> None:
        """Turn SIGINT and SIGTERM into a stop at the next optimizer step; a second signal acts as it did before.

        Here and not before `fit`, for Lightning's own SIGTERM handler would raise in the middle of a step.
        """
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            for number in self._handlers:
                signal.signal(number, self._stop)

    def _stop(self, number: int, _: FrameType | None) -> None:
        self.stopped_by = signal.Signals(number).name
        self._hush()

    def _hush(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def capture(trainer: Trainer, phase: Phase, ema: Ema, data: ClipsData) -> dict[str, Any]:
    """Everything that the rest of the run depends on, under the names of `save_state`."""
    optimizer = trainer.optimizers[0]
    moments: dict[str, Tensor] = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                moments[f"{name}/{key}"] = value
    return {
        "model": {name: p.detach() for name, p in phase.trainable().items()},
        "optimizer": moments,
        "ema": ema.averages,
        "loop": {"step": trainer.global_step, "data": data.state_dict(), "ema_updates": ema.updates},
        "generators": generators(phase.device),
    }


def restore(folder: Path, trainer: Trainer, phase: Phase, ema: Ema) -> None:
    """The inverse of `capture`, for all but the data's counter and the loop's (`rewind` puts them back earlier)."""
    parameters = phase.trainable()
    optimizer = trainer.optimizers[0]
    state = load_state(folder, model=parameters, ema=ema.averages)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state.model[name])
            if f"{name}/step" in state.optimizer:
                moments = {
                    key: state.optimizer[f"{name}/{key}"].to(parameter.device) for key in ("exp_avg", "exp_avg_sq")
                }
                optimizer.state[parameter] = {"step": state.optimizer[f"{name}/step"], **moments}
        for name, average in ema.averages.items():
            average.copy_(state.ema[name])
    ema.updates = int(state.loop["ema_updates"])
    torch.set_rng_state(state.generators["torch"])
    if phase.device.type == "cuda" and "cuda" in state.generators:
        torch.cuda.set_rng_state(state.generators["cuda"], phase.device)


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
