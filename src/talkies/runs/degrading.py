"""References that are degraded: in training for a share of the samples, in an evaluation for all."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from talkies.codecs.load import load_codecs
from talkies.generate.model import Generator
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.streams.batch import Batch
from talkies.streams.codec import Codecs
from talkies.streams.system import Parts, Setup, System
from talkies.training.degrading import Degrading, Ear, with_degraded

HELD_OUT = 0
"""The seed of what is degraded in an evaluation: whoever trained the model, a clip sounds the same."""


def degrading(recipe: PhaseRecipe, folder: Path) -> Degrading:
    """What degrades conditions while the recipe trains, with codecs of its own on the device of the batches; `folder`:
    the fitted codecs of its data."""
    part = parts(recipe)
    names = _codecs_of(recipe.system, recipe, part)

    def open_on(device: torch.device) -> dict[str, Ear]:
        read = {name for pair in names.values() for name in pair}
        return _ears(names, load_codecs(recipe.codecs, folder, names=read, device=device))

    return Degrading(part, open_on, seed=recipe.seed)


def degraded_references(batch: Batch, model: Generator) -> Batch:
    """The held-out batch with all its conditions degraded that the model's phase degrades: to be tuned. What is done to
    them is a function of the clips' ids alone. Unchanged if the phase degrades none."""
    part = model.system.parts(model.setup)
    ears = _ears(_codecs_of(model.system, model.setup, part), model.codecs)
    found = replace(batch, visits=(0,) * len(batch.ids))
    for name, one in part.degraded.items():
        found = with_degraded(found, name, one, ears[name], range(len(batch.ids)), seed=HELD_OUT)
    return replace(found, visits=batch.visits)


def _codecs_of(system: System, setup: Setup, part: Parts) -> dict[str, tuple[str, str]]:
    """Condition -> the names of the codecs of its sound, and of itself."""
    stored: Mapping[str, Any] = system.stored(setup.codecs)
    return {name: (stored[one.source].codec, stored[name].codec) for name, one in part.degraded.items()}


def _ears(names: Mapping[str, tuple[str, str]], codecs: Codecs) -> dict[str, Ear]:
    return {name: Ear(source=codecs.sound(sound), codec=codecs.audio[own]) for name, (sound, own) in names.items()}
