"""Measurements of a phase while it trains, on its EMA weights."""

from pathlib import Path
from typing import Any

from talkies.evaluation.heldout import heldout_loss
from talkies.generate.config import SamplingConfig
from talkies.media.write import PROVENANCE
from talkies.parallel.ranks import Ranks
from talkies.recipe.check import mask_channels
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.runs.validation import batches, sample_batch, write_samples
from talkies.streams.batch import Batch
from talkies.training.ema_callback import EmaCallback
from talkies.training.phase import Phase


class Evaluator:
    """Held-out losses and sampled clips of one run. The held-out batches are read once."""

    def __init__(
        self, recipe: PhaseRecipe, inputs: Any, folder: Path, phase: Phase, *, ema_callback: EmaCallback, ranks: Ranks
    ) -> None:
        self.recipe, self.inputs, self.folder, self.phase = recipe, inputs, folder, phase
        self.ema_callback, self.ranks = ema_callback, ranks
        self.modalities = tuple(parts(recipe).weights)
        self._batches: list[Batch] | None = None

    @property
    def fixed(self) -> dict[str, Any]:
        """The arguments that every evaluation of this recipe shares."""
        return {
            "boundary": self.recipe.model.shape.boundary,
            "mask_channels": mask_channels(self.recipe),
            "seed": self.recipe.seed,
        }

    def batches(self) -> list[Batch]:
        """The held-out clips, on the model's device."""
        if self._batches is None:
            self._batches = batches(self.inputs.heldout, self.recipe.validation.clips, self.modalities)
        return [batch.to(self.phase.device) for batch in self._batches]

    def losses(self, step: int) -> dict[str, float]:
        """Held-out loss per modality and noise bin at fixed noise."""
        del step
        with self.ema_callback.ema.swapped(self.phase.state):
            return heldout_loss(
                self.phase.model, self.batches(), self.recipe.flow, bins=self.recipe.validation.bins, **self.fixed
            )

    def samples(self, step: int) -> list[Path]:
        """Sampled clips as mp4 files and contact sheets."""
        count = self.recipe.validation.samples
        batch = batches(self.inputs.heldout, count, self.modalities)[0].to(self.phase.device)
        sampling = SamplingConfig(
            steps=self.recipe.validation.sampling_steps,
            video_shift=self.recipe.sampling.video_shift,
            audio_shift=self.recipe.sampling.audio_shift,
        )
        with self.ema_callback.ema.swapped(self.phase.state):
            media = sample_batch(
                self.phase.model,
                self.inputs.codecs,
                batch,
                sampling,
                fps=self.inputs.heldout.fps,
                device=self.phase.device,
                **self.fixed,
            )
        if not self.ranks.main:
            return []
        folder = self.folder / f"step-{step:08d}"
        tags = {PROVENANCE: f"synthetic; talkies {self.recipe.name} step {step}"}
        return write_samples(media, batch.captions, folder, tags=tags)
