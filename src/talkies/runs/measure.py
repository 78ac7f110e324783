"""Measurements of a phase while it trains, on its EMA weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from talkies.flow.config import SamplingConfig
from talkies.generate.model import Generator
from talkies.parallel.autocasted import Autocasted
from talkies.parallel.ranks import Ranks
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.runs.cloned import heldout_tags
from talkies.runs.validation import batches, captions, heldout_losses, sample_batch, write_samples
from talkies.streams.batch import Batch, Denoiser
from talkies.training.ema_callback import EmaCallback
from talkies.training.phase import Phase


class Evaluator:
    """Held-out losses and sampled clips of one run. The held-out batches are read once."""

    def __init__(
        self, recipe: PhaseRecipe, inputs: Any, folder: Path, phase: Phase, *, ema_callback: EmaCallback, ranks: Ranks
    ) -> None:
        self.recipe, self.inputs, self.folder, self.phase = recipe, inputs, folder, phase
        self.ema_callback, self.ranks = ema_callback, ranks
        self.parts = parts(recipe)
        self._batches: list[Batch] | None = None

    def batches(self) -> list[Batch]:
        """The held-out clips, on the model's device."""
        if self._batches is None:
            self._batches = batches(self.inputs.heldout, self.recipe.validation.clips, self.parts.streams)
        return [batch.to(self.phase.device) for batch in self._batches]

    def _denoiser(self) -> Denoiser:
        """The model in the precision of a training step: under autocast, unless the layout itself lowers blocks."""
        bf16 = self.recipe.precision == "bf16" and self.recipe.parallel.kind == "ddp"
        return Autocasted(self.phase.model, self.phase.device) if bf16 else self.phase.model

    def losses(self, step: int) -> dict[str, float]:
        """Held-out loss per modality and noise bin at fixed noise."""
        del step
        with self.ema_callback.ema.swapped(self.phase.state):
            return heldout_losses(self.recipe, self._denoiser(), self.batches(), seed=self.recipe.seed)

    def samples(self, step: int) -> list[Path]:
        """Sampled clips and their contact sheets."""
        count = self.recipe.validation.samples
        batch = batches(self.inputs.heldout, count, self.parts.held_out)[0].to(self.phase.device)
        model, sampling = self._generator(batch), self._sampling()
        with self.ema_callback.ema.swapped(self.phase.state):
            media = sample_batch(model, batch, sampling, seed=self.recipe.seed, seconds=self.inputs.heldout.seconds)
        if not self.ranks.main:
            return []
        folder = self.folder / f"step-{step:08d}"
        tags = heldout_tags(f"synthetic; talkies {self.recipe.name} step {step}", self.recipe)
        return write_samples(media, captions(batch, self.recipe.system), folder, tags=tags)

    def _sampling(self) -> SamplingConfig:
        """Without guidance, which would cost more and is a matter of taste, and without what only saves time or memory:
        the weights are on the device to be trained."""
        return replace(
            self.recipe.sampling,
            steps=self.recipe.validation.sampling_steps,
            scales={},
            skip_layer=None,
            reuse=None,
            offload="none",
        )

    def _generator(self, batch: Batch) -> Generator:
        """The model, for clips like those of the batch."""
        return Generator(
            denoiser=self._denoiser(),
            codecs=self.inputs.codecs,
            system=self.recipe.system,
            setup=self.recipe,
            grids={name: batch.grids[name] for name in self.parts.streams},
            fps=self.inputs.heldout.fps,
            target=self.recipe.flow.target,
            device=self.phase.device,
        )
