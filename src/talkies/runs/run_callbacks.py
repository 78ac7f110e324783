"""What watches a phase while it trains: metrics, checkpoints, validation, the bar, and where each tells of it."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning import Callback

from talkies.config import StorageError
from talkies.data.module import ClipsData
from talkies.data.substitutes import FILE
from talkies.evaluation.validation import ValidationCallback
from talkies.parallel.ranks import Ranks
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.resilience.activity import Activity, Steps
from talkies.resilience.guard import SurvivalWarning
from talkies.resilience.quarantine import Quarantine
from talkies.resilience.rollback import Rollback, read_rollbacks
from talkies.resilience.watchdog import Watchdog
from talkies.runs.folders import write_json
from talkies.runs.inputs import Inputs
from talkies.runs.measure import Measure
from talkies.runs.records import VALIDATED
from talkies.runs.retention import Retention
from talkies.tracking.spool import Tracker
from talkies.training.after_step import AfterStep
from talkies.training.averaging import Averaging
from talkies.training.metrics import ClockOn, TrainingMetrics
from talkies.training.phase import Phase
from talkies.training.progress import StepProgress


class RunCallbacks:
    """The callbacks of one attempt, and the tracker that the main process has."""

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
        self.kept = Retention(folder, parts(recipe).weights, back=back)
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
        """Where the main process tells."""
        assert self._tracker is not None, "only the main process tells"
        return self._tracker

    def callbacks(
        self, quarantine: Quarantine, after: AfterStep, validation: ValidationCallback, *, bar: bool
    ) -> list[Callback]:
        """In the order that each asks for."""
        recipe, metrics = self.recipe, self.metrics
        self._bars = [StepProgress(recipe.name, recipe.steps.max)] if bar and self.ranks.main else []
        return [Steps(self.activity), metrics, quarantine, *after.callbacks, validation, *self._bars, ClockOn(metrics)]

    def quarantine(self, data: ClipsData) -> Quarantine:
        """What becomes of the clips that `data` cannot read."""
        return Quarantine(
            data,
            self.folder / FILE,
            share=self.recipe.survival.quarantine.share,
            every=self.recipe.steps.log_every,
            last=self.recipe.steps.max,
            sink=self._quarantined,
            ranks=self.ranks,
        )

    def validation(self, phase: Phase, averaging: Averaging) -> ValidationCallback:
        """Held-out losses and samples, each due step once."""
        measure = Measure(
            self.recipe, self.inputs, self.folder / "samples", phase, averaging=averaging, ranks=self.ranks
        )
        return ValidationCallback(
            every=self.recipe.validation.every,
            measure=measure.losses,
            sample=measure.samples if self.recipe.validation.samples else None,
            sink_metrics=self._validation_measured,
            sink_media=lambda path, step: self.tracker.artifact(path, f"samples/step-{step:08d}"),
            recorded=lambda step: self.ranks.first(lambda: self._validated_at() == step),
            record=lambda step: _noted(write_json, self._validated, {"step": step}),
        )

    def watchdog(self) -> Watchdog:
        """What is to hold while the phase trains; every process must make it."""
        return Watchdog(self.recipe.survival.watchdog, self.folder, self.activity, self.ranks, self.on_hang)

    def saved(self, step: int, made: Path) -> None:
        """A checkpoint is complete."""
        _noted(self.kept.update_best)
        self.tracker.artifact(made / "manifest.json", f"checkpoints/step-{step:08d}")

    def skipped(self, entry: Mapping[str, Any]) -> None:
        """A step was skipped."""
        self.tracker.tags({f"skipped.step-{entry['step']:08d}": entry["what"]})

    def leave(self, made: Rollback) -> None:
        """Training goes on from an earlier step: what was logged and validated after it is so again, and what must stay
        is set aside."""
        self.tracker.went_back(made.to)
        self.tracker.tags(
            {f"went_back.{len(read_rollbacks(self.folder))}": f"step {made.at}: to step {made.to}: {made.reason}"}
        )
        warnings.warn(
            f"training: {made.reason}; going back to step {made.to}, and past samples {made.start} to {made.stop}",
            SurvivalWarning,
            stacklevel=2,
        )
        self.kept.set_aside(made.to)
        if (self._validated_at() or 0) > made.to:
            self._validated.unlink()

    def _measured(self, metrics: Mapping[str, float], step: int) -> None:
        self.tracker.metrics(metrics, step)
        for line in self._bars:
            line.report(metrics)

    def _quarantined(self, count: int, step: int) -> None:
        self.tracker.metrics({"data/quarantined": count}, step)
        self.tracker.tags({"quarantined": count})

    def _validation_measured(self, metrics: Mapping[str, float], step: int) -> None:
        _noted(self.kept.measured, metrics, step)
        self.tracker.metrics(metrics, step)

    def _validated_at(self) -> int | None:
        """The step whose validation was handed on last."""
        found = VALIDATED.find(self._validated)
        return None if found is None else found.step


def _noted(write: Callable[..., None], *args: object) -> None:
    """A small record that the disk does not take is no reason to stop: it is written with the next one."""
    try:
        write(*args)
    except StorageError as error:
        warnings.warn(f"run: {error}", SurvivalWarning, stacklevel=3)
