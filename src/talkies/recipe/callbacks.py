"""What watches a phase while it trains: metrics, checkpoints, validation, the bar, and where each tells of it."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback

from talkies.data.module import ClipsData
from talkies.evaluation.validation import ValidationCallback
from talkies.parallel.ranks import Ranks
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.folders import read_json, write_json
from talkies.recipe.inputs import Inputs
from talkies.recipe.measure import Measure
from talkies.tracking.spool import Tracker
from talkies.training.guard import SurvivalWarning
from talkies.training.metrics import ClockOn, TrainingMetrics
from talkies.training.phase import Phase
from talkies.training.progress import StepProgress
from talkies.training.quarantine import FILE, Quarantine
from talkies.training.rollback import Rollback
from talkies.training.saving import Saving


class Watching:
    """The callbacks of one attempt, and the tracker that the main process has."""

    def __init__(
        self, recipe: PhaseRecipe, inputs: Inputs, folder: Path, tracker: Tracker | None, ranks: Ranks
    ) -> None:
        self.recipe, self.inputs, self.folder, self.ranks = recipe, inputs, folder, ranks
        self._tracker = tracker
        self._validated = folder / "validated.json"
        self._bars: list[StepProgress] = []

    @property
    def tracker(self) -> Tracker:
        """Where the main process tells."""
        assert self._tracker is not None, "only the main process tells"
        return self._tracker

    def callbacks(
        self, quarantine: Quarantine, saving: Saving, validation: ValidationCallback, *, bar: bool
    ) -> list[Callback]:
        """In the order that each asks for."""
        recipe = self.recipe
        metrics = TrainingMetrics(
            every=recipe.steps.log_every,
            bins=recipe.validation.bins,
            sink=self._measured,
            ranks=self.ranks,
            share=recipe.parallel.sequence,
        )
        self._bars = [StepProgress(recipe.name, recipe.steps.max)] if bar and self.ranks.main else []
        return [metrics, quarantine, saving, validation, *self._bars, ClockOn(metrics)]

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

    def validation(self, phase: Phase, saving: Saving) -> ValidationCallback:
        """Held-out losses and samples, each due step once."""
        measure = Measure(self.recipe, self.inputs, self.folder / "samples", phase, saving)
        return ValidationCallback(
            every=self.recipe.validation.every,
            measure=measure.losses,
            sample=measure.samples if self.recipe.validation.samples else None,
            sink_metrics=self._validation_measured,
            sink_media=lambda path, step: self.tracker.artifact(path, f"samples/step-{step:08d}"),
            recorded=lambda step: self.ranks.first(lambda: self._validated_at() == step),
            record=lambda step: write_json(self._validated, {"step": step}),
        )

    def saved(self, step: int, made: Path) -> None:
        """A checkpoint is complete."""
        self.tracker.artifact(made / "manifest.json", f"checkpoints/step-{step:08d}")

    def skipped(self, entry: Mapping[str, Any]) -> None:
        """A step was skipped."""
        self.tracker.tags({f"skipped.step-{entry['step']:08d}": entry["what"]})

    def went_back(self, made: Rollback) -> None:
        """Training goes on from an earlier step: what was logged after it is logged again."""
        self.tracker.went_back(made.to)
        self.tracker.tags({f"went_back.step-{made.at:08d}": f"to step {made.to}: {made.reason}"})
        warnings.warn(
            f"training: {made.reason}; going back to step {made.to}, and past samples {made.start} to {made.stop}",
            SurvivalWarning,
            stacklevel=2,
        )

    def _measured(self, metrics: Mapping[str, float], step: int) -> None:
        self.tracker.metrics(metrics, step)
        for line in self._bars:
            line.report(metrics)

    def _quarantined(self, count: int, step: int) -> None:
        self.tracker.metrics({"data/quarantined": count}, step)
        self.tracker.tags({"quarantined": count})

    def _validation_measured(self, metrics: Mapping[str, float], step: int) -> None:
        self.tracker.metrics(metrics, step)

    def _validated_at(self) -> int | None:
        """The step whose validation was handed on last."""
        return int(read_json(self._validated)["step"]) if self._validated.exists() else None
