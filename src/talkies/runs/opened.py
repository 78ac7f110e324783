"""A model that was opened for sampling and measuring, with all that belongs to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import nn

from talkies.data.shards import ShardSet
from talkies.generate.model import Generator
from talkies.generate.text_memory import TextMemory
from talkies.prepare.geometry import Geometry
from talkies.recipe.check import cut_grids
from talkies.recipe.config import PhaseRecipe
from talkies.streams import Grid
from talkies.streams.batch import Denoiser
from talkies.streams.codec import Codecs


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model ready to sample on `device` (the GPU if there is one): weights, codecs, geometry. `denoiser` is the model
    as it is evaluated: in the recipe's precision, with the weights that `sampling.offload` puts there.

    `sha256` and `name` identify it, `step` is how long it was trained, `run` its run folder, if any; `released`: it is
    a release, not a checkpoint; `texts`: what was encoded so far.
    """

    name: str
    sha256: str
    model: nn.Module
    denoiser: Denoiser
    codecs: Codecs
    recipe: PhaseRecipe
    grids: Mapping[str, Grid]
    fps: float
    run: Path | None
    step: int
    released: bool
    device: torch.device
    texts: TextMemory = field(default_factory=TextMemory)

    def generator(self, shards: ShardSet | None = None) -> Generator:
        """The model for clips of its own geometry, or of that of a set."""
        other = {} if shards is None else {name: shards.grids[name] for name in self.grids}
        return Generator(
            denoiser=self.denoiser,
            codecs=self.codecs,
            system=self.recipe.system,
            setup=self.recipe,
            grids={**self.grids, **other},
            fps=self.fps if shards is None else shards.fps,
            target=self.recipe.flow.target,
            device=self.device,
            texts=self.texts,
        )

    def at(self, geometry: Geometry, *, where: str) -> "Source":
        """The model for clips of another geometry. RecipeError, which begins with `where`, if a codec or the system
        cannot make such clips."""
        recipe = replace(self.recipe, data=replace(self.recipe.data, geometry=str(geometry)))
        found, _ = cut_grids(recipe, geometry, where=where)
        return replace(self, recipe=recipe, grids=found, fps=frame_rate(geometry))


def frame_rate(geometry: Geometry) -> float:
    """Frames per second, as codecs and files take them."""
    return float(Fraction(geometry.fps).limit_denominator(1001))
