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

from talkies.checkpoints.state import load_state, save_state
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

    def on_train_start(self, trainer: Trainer, pl_module: Phase) -> None:  # type: ignore[override]
        """Build the EMA, then put back what the checkpoint holds."""
        self.ema = Ema(pl_module.trainable(), self.ema_config)
        if self.resume is not None:
            restore(self.resume, trainer, pl_module, self.ema)
            self._last_saved = trainer.global_step

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: Phase, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """After an optimizer step: count, average, and save where a save is due."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        assert self.ema is not None
        self.data.advance(self.steps.global_batch)
        self.ema.update(pl_module.trainable())
        step = trainer.global_step
        if step == self.stop_at:
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

    def listen(self) -> Callable[[], None]:
        """Turn SIGINT and SIGTERM into a stop at the next optimizer step; returns what restores the old handlers.

        A second signal acts as it did before.
        """
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def restore_handlers() -> None:
            for number, handler in old.items():
                signal.signal(number, handler)

        def stop(number: int, _: FrameType | None) -> None:
            self.stopped_by = signal.Signals(number).name
            restore_handlers()

        for number in old:
            signal.signal(number, stop)
        return restore_handlers


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
        "generators": {"torch": torch.get_rng_state()},
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
                keys = ("step", "exp_avg", "exp_avg_sq")
                optimizer.state[parameter] = {key: state.optimizer[f"{name}/{key}"].clone() for key in keys}
        for name, average in ema.averages.items():
            average.copy_(state.ema[name])
    ema.updates = int(state.loop["ema_updates"])
    torch.set_rng_state(state.generators["torch"])


def rewind(trainer: Trainer, data: ClipsData, loop: dict[str, Any]) -> None:
    """Set the trainer's optimizer-step counter and the data's sample counter before `fit` builds its loader."""
    progress = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    progress.ready = progress.completed = int(loop["step"])
    data.load_state_dict(loop["data"])
