"""The callbacks of a phase (metrics, checkpoints, validation, progress bar), connected to the run's records and
tracker.
"""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning import Callback

from talkies.config import StorageError
from talkies.data.module import ClipsData
from talkies.data.substitutes import FILE
from talkies.evaluation.validation import ValidationCallback
from talkies.files.durable import write_json
from talkies.parallel.ranks import Ranks
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.resilience.activity import Activity, Steps
from talkies.resilience.guard import SurvivalWarning
from talkies.resilience.quarantine import Quarantine
from talkies.resilience.rollback import Rollback, read_rollbacks
from talkies.resilience.watchdog import Watchdog
from talkies.runs.inputs import Inputs
from talkies.runs.measure import Evaluator
from talkies.runs.records import VALIDATED
from talkies.runs.retention import Retention
from talkies.tracking.spool import Tracker
from talkies.training.after_step import AfterStep
from talkies.training.ema_callback import EmaCallback
from talkies.training.metrics import ResumeClock, TrainingMetrics
from talkies.training.phase import Phase
from talkies.training.progress import StepProgress


class RunCallbacks:
    """The callbacks of a run, and the tracker of its main process."""

    def __init__(
        self,
        recipe: PhaseRecipe,
        inputs: Inputs,
        folder: Path,
        tracker: Tracker | None,
        ranks: Ranks,
        *,
        on_hang: Callable[[], None] | None = None,
    ) -> None:
        self.recipe, self.inputs, self.folder, self.ranks = recipe, inputs, folder, ranks
        self._tracker, self.on_hang = tracker, on_hang
        self.activity = Activity()
        back = recipe.survival.rollback.back if recipe.survival.goes_back else None
        self.retention = Retention(folder, parts(recipe).targets, back=back)
        self._validated = folder / "validated.json"
        self._bars: list[StepProgress] = []
        self.metrics = TrainingMetrics(
            every=recipe.steps.log_every,
            bins=recipe.validation.bins,
            sink=self._measured,
            ranks=ranks,
            share=recipe.parallel.sequence,
            own=self.activity.own,
            ratio=recipe.survival.straggler,
        )

    @property
    def tracker(self) -> Tracker:
        """The run's tracker."""
        assert self._tracker is not None, "only the main process has a tracker"
        return self._tracker

    def callbacks(
        self, quarantine: Quarantine, after: AfterStep, validation: ValidationCallback, *, bar: bool
    ) -> list[Callback]:
        """The callbacks of one attempt, in the order that they require."""
        recipe, metrics = self.recipe, self.metrics
        self._bars = [StepProgress(recipe.name, recipe.steps.max)] if bar and self.ranks.main else []
        return [
            Steps(self.activity),
            metrics,
            quarantine,
            *after.callbacks,
            validation,
            *self._bars,
            ResumeClock(metrics),
        ]

    def quarantine(self, data: ClipsData) -> Quarantine:
        """The quarantine of clips that `data` cannot read."""
        return Quarantine(
            data,
            self.folder / FILE,
            share=self.recipe.survival.quarantine.share,
            every=self.recipe.steps.log_every,
            last=self.recipe.steps.max,
            sink=self._quarantined,
            ranks=self.ranks,
        )

    def validation(self, phase: Phase, ema_callback: EmaCallback) -> ValidationCallback:
        """Held-out losses and samples, once for each due step."""
        measure = Evaluator(
            self.recipe, self.inputs, self.folder / "samples", phase, ema_callback=ema_callback, ranks=self.ranks
        )
        return ValidationCallback(
            every=self.recipe.validation.every,
            measure=measure.losses,
            sample=measure.samples if self.recipe.validation.samples else None,
            sink_metrics=self._validation_measured,
            sink_media=lambda path, step: self.tracker.artifact(path, f"samples/step-{step:08d}"),
            recorded=lambda step: self.ranks.first(lambda: self._validated_at() == step),
            record=lambda step: _warn_on_full_disk(write_json, self._validated, {"step": step}),
        )

    def watchdog(self) -> Watchdog:
        """The watchdog to enter while the phase trains; every process must make it."""
        return Watchdog(self.recipe.survival.watchdog, self.folder, self.activity, self.ranks, self.on_hang)

    def saved(self, step: int, checkpoint: Path) -> None:
        """Record a complete checkpoint."""
        _warn_on_full_disk(self.retention.update_best)
        self.tracker.artifact(checkpoint / "manifest.json", f"checkpoints/step-{step:08d}")

    def skipped(self, entry: Mapping[str, Any]) -> None:
        """Record a skipped step."""
        self.tracker.tags({f"skipped.step-{entry['step']:08d}": entry["what"]})

    def before_rollback(self, rollback: Rollback) -> None:
        """Prepare the records for a rollback: steps after `rollback.to` will be logged and validated again, and their
        marked checkpoints are set aside."""
        at, to, reason = rollback.at, rollback.to, rollback.reason
        self.tracker.went_back(to)
        self.tracker.tags({f"went_back.{len(read_rollbacks(self.folder))}": f"step {at}: to step {to}: {reason}"})
        warnings.warn(
            f"training: {reason}; resuming from step {to}, skipping samples {rollback.start} to {rollback.stop}",
            SurvivalWarning,
            stacklevel=2,
        )
        self.retention.set_aside(to)
        if (self._validated_at() or 0) > to:
            self._validated.unlink()

    def _measured(self, metrics: Mapping[str, float], step: int) -> None:
        self.tracker.metrics(metrics, step)
        for bar in self._bars:
            bar.report(metrics)

    def _quarantined(self, count: int, step: int) -> None:
        self.tracker.metrics({"data/quarantined": count}, step)
        self.tracker.tags({"quarantined": count})

    def _validation_measured(self, metrics: Mapping[str, float], step: int) -> None:
        _warn_on_full_disk(self.retention.measured, metrics, step)
        self.tracker.metrics(metrics, step)

    def _validated_at(self) -> int | None:
        """The step of the last recorded validation."""
        found = VALIDATED.find(self._validated)
        return None if found is None else found.step


def _warn_on_full_disk(write: Callable[..., None], *args: object) -> None:
    """Write a small record; on a StorageError only warn, since the next write makes up for it."""
    try:
        write(*args)
    except StorageError as error:
        warnings.warn(f"run: {error}", SurvivalWarning, stacklevel=3)
