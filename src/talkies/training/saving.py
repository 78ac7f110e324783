"""Checkpoints of a phase: written at optimizer-step boundaries, restored bitwise."""

import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor

from talkies.checkpoints.spans import local
from talkies.checkpoints.state import load_ema, load_state, save_state
from talkies.checkpoints.store import CheckpointStore
from talkies.data.module import ClipsData
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.training.config import EmaConfig, StepsConfig
from talkies.training.ema import Ema
from talkies.training.held import write
from talkies.training.phase import Phase
from talkies.training.writing import Background, staged

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Saving(Callback):
    """Counts what was trained on, keeps the EMA, saves, resumes, and stops at a step boundary when asked.

    It is one callback because a checkpoint must see all of these at the same step. `resume` is the folder of a
    verified checkpoint; training stops after optimizer step `stop_at`; `saved(step, folder)` is told of every new one.
    Checkpoints are written in the background, of a copy of the state. Every process has one; a signal to one of them
    stops all at the same step. `recipe` is the hash that every checkpoint names; `settle(step)` is called in every
    process before its state is taken.
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
        ranks: Ranks | None = None,
        recipe: str | None = None,
        settle: Callable[[int], None] | None = None,
    ) -> None:
        self.recipe, self.settle = recipe, settle
        self.store, self.steps, self.ema_config, self.data = store, steps, ema, data
        self.resume, self.stop_at, self.saved = resume, stop_at, saved
        self.ema: Ema | None = None
        self.stopped_by: str | None = None
        self._asked: str | None = None
        self.ranks = ranks or Ranks(ALONE)
        self._writers, self._background = self.ranks.writers, Background()
        self._last_saved = -1
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: Phase) -> None:
        """Build the EMA, then put back what the checkpoint holds."""
        self.ema = Ema(pl_module.trainable(), self.ema_config)
        if self.resume is not None:
            restore(self.resume, pl_module, self.ema, self.ranks)
            self._last_saved = trainer.global_step
        self._listen()

    def on_train_end(self, trainer: Trainer, pl_module: Phase) -> None:
        """Give the signals back, and end the checkpoint that is being written.

        A SIGUSR1 that came too late to stop anything goes to who listened before training did.
        """
        del pl_module
        self._hush()
        self._background.wait()
        ended = self.stopped_by is None or trainer.global_step >= self.steps.max
        if self._asked == signal.SIGUSR1.name and ended and callable(signal.getsignal(signal.SIGUSR1)):
            signal.raise_signal(signal.SIGUSR1)

    def on_exception(self, trainer: Trainer, pl_module: Phase, exception: BaseException) -> None:
        """Give the signals back, and end the checkpoint that is being written, if it still can be."""
        del trainer, pl_module
        self._hush()
        try:
            self._background.wait()
        except Exception as error:
            if error is not exception:
                exception.add_note(f"the checkpoint of step {self._last_saved} was not written: {error}")

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
        step = trainer.global_step
        due = self.stop_at is not None and step >= self.stop_at
        asked = f"--stop-at {step}" if due else self._asked
        # A signal may come while the others are asked: only what all have heard counts in this step.
        stop = self.ranks.any(asked is not None)
        if stop:
            self.stopped_by = next(cause for cause in self.ranks.gather(asked) if cause is not None)
        if step % self.steps.checkpoint_every == 0 or step == self.steps.max or stop:
            self.save(trainer, pl_module)
        if stop:
            trainer.should_stop = True

    def save(self, trainer: Trainer, phase: Phase) -> None:
        """Write the state of this optimizer step, once."""
        step = trainer.global_step
        if step == self._last_saved:
            return
        assert self.ema is not None
        if self.settle is not None:
            self.settle(step)
        state = staged(capture(trainer, phase, self.ema, self.data))
        state["loop"]["recipe"] = self.recipe
        self._background.start(partial(self._write, step, state), partial(self._tell, step))
        self._last_saved = step

    def _write(self, step: int, state: dict[str, Any]) -> None:
        state |= {"rank": self._writers.world.rank, "group": self._writers.group}
        self.store.save(step, lambda folder: save_state(folder, **state), self._writers)
        if self._writers.main:
            self.store.retain(self.steps.keep)

    def _tell(self, step: int) -> None:
        if self.saved is not None and self._writers.main:
            self.saved(step, self.store.path(step))

    def recall(self, phase: Phase) -> None:
        """Put the averages of `resume` back without a trainer: for a run whose last step is already done."""
        assert self.resume is not None
        phase.configure_model()
        phase.to(next(phase.model.parameters()).device)  # Lightning's own idea of where the module is
        self.ema = Ema(phase.trainable(), self.ema_config)
        self.ema.averages = load_ema(self.resume, phase.trainable(), rank=self.ranks.world.rank, group=self.ranks.group)
        phase.eval()

    def _listen(self) -> None:
        """Turn SIGINT, SIGTERM and SIGUSR1 into a stop at the next optimizer step. A second SIGINT acts as it did
        before; the others may be told twice (by a launcher, too), and an end overrules a preemption.

        Here and not before `fit`, for Lightning's own SIGTERM handler would raise in the middle of a step.
        """
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.getsignal(number) for number in STOPS}
            for number in self._handlers:
                signal.signal(number, self._stop)

    def _stop(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGUSR1 or self._asked is None:
            self._asked = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, self._handlers[number])

    def _hush(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


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


def restore(folder: Path, phase: Phase, ema: Ema, ranks: Ranks) -> None:
    """The inverse of `capture`, for all but the data's counter and the loop's (`rewind` puts them back earlier)."""
    held = phase.held
    state = load_state(folder, model=held.weights(), ema=ema.averages, rank=ranks.world.rank, group=ranks.group)
    write(state.model, held)
    held.restore(state.optimizer)
    for name, average in ema.averages.items():
        local(average).copy_(local(state.ema[name]))
    ema.updates = int(state.loop["ema_updates"])
    if "guard" in state.loop:
        phase.guard.load_state_dict(state.loop["guard"])
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
