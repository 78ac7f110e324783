"""A progress bar that counts optimizer steps."""

from collections.abc import Mapping
from typing import Any

from lightning import Callback, LightningModule, Trainer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class StepProgress(Callback):
    """One line per phase: name, steps done of `steps`, elapsed and remaining time, the last loss."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[loss]}"))
        self._task = self._bar.add_task(name, total=steps, loss="")

    def report(self, metrics: Mapping[str, float]) -> None:
        """Show the latest losses."""
        shown = [f"{k.split('/')[1]} {v:.3f}" for k, v in metrics.items() if k in {"train/video", "train/audio"}]
        if shown:
            self._bar.update(self._task, loss=" ".join(shown))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the bar at the current step."""
        del pl_module
        self._bar.update(self._task, completed=trainer.global_step)
        self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Advance to the current step."""
        self._bar.update(self._task, completed=trainer.global_step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the finished line on the screen."""
        del trainer, pl_module
        self._bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Release the terminal before the error message."""
        del trainer, pl_module, exception
        self._bar.stop()
