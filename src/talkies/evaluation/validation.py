"""Validation during training: measuring and sampling at optimizer steps, without any effect on training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from talkies.resilience.activity import VALIDATION


class ValidationCallback(Callback):
    """After every `every`-th optimizer step, and after the last one, calls `measure(step)` and `sample(step)`.

    `measure` returns metrics, `sample` (None: no samples) the media files that it wrote; every rank calls both, and
    rank 0 passes the results to `sink_metrics(metrics, step)` and `sink_media(path, step)`. They run in eval mode,
    without gradients, and all random states are restored afterwards, so that training is bitwise the same with and
    without them. A step is validated once: `record(step)` is called after its sinks, and a resumed fit first makes up
    for a due step for which `recorded(step)` is false (its process died between the checkpoint and the validation).
    A fit that is stopped early by a signal validates only if its last step is due.
    Put it after the callback that keeps the EMA.
    """

    activities: ClassVar = dict.fromkeys(("on_train_start", "on_train_batch_end", "on_train_end"), VALIDATION)

    def __init__(
        self,
        *,
        every: int,
        measure: Callable[[int], dict[str, float]],
        sample: Callable[[int], list[Path]] | None,
        sink_metrics: Callable[[dict[str, float], int], None],
        sink_media: Callable[[Path, int], None],
        recorded: Callable[[int], bool],
        record: Callable[[int], None],
    ) -> None:
        if every < 1:
            raise ValueError(f"validation every {every} steps: at least 1 is needed; set validation.every")
        self.every, self.measure, self.sample = every, measure, sample
        self.sink_metrics, self.sink_media = sink_metrics, sink_media
        self.recorded, self.record = recorded, record
        self._seen = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the step that this attempt begins at, if the attempt before died before it had done so."""
        step = trainer.global_step
        if step and step % self.every == 0 and not self.recorded(step):
            self.validate(pl_module, step, main=trainer.is_global_zero)
        self._seen = step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Validate if the batch completed a due optimizer step."""
        del outputs, batch, batch_idx
        if trainer.global_step % self.every == 0:
            self._once(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the result, unless the fit was interrupted."""
        if not (trainer.should_stop and trainer.global_step < trainer.max_steps):
            self._once(trainer, pl_module)

    def _once(self, trainer: Trainer, module: LightningModule) -> None:
        step = trainer.global_step
        if step != self._seen:
            self._seen = step
            self.validate(module, step, main=trainer.is_global_zero)

    def validate(self, module: LightningModule, step: int, *, main: bool = True) -> None:
        """Measure and sample `module` as it is now; `main`: this rank passes the results to the sinks."""
        # Not inference_mode: what a network caches here (position tables) must still serve the next training step.
        with isolate_rng(), _eval_mode(module), torch.no_grad():
            metrics = self.measure(step)
            media = [] if self.sample is None else self.sample(step)
        if main:
            self.sink_metrics(metrics, step)
            for path in media:
                self.sink_media(path, step)
            self.record(step)


@contextmanager
def _eval_mode(module: torch.nn.Module) -> Iterator[None]:
    """Within the block every submodule is in eval mode; afterwards each has its previous mode."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes:
            child.training = mode
