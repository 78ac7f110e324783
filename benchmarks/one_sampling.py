"""One clip, sampled by MOVA's networks with the weights where `sampling.offload` says."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from talkies.flow.config import Offload
from talkies.flow.guidance import guided
from talkies.flow.sampler import sample
from talkies.flow.schedule import level_grid
from talkies.models.build import build, initialise
from talkies.nn.lowering import hold_lowered
from talkies.planning.sampling import plan_sampling
from talkies.recipe.check import check
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.runs.evaluated import denoiser_of
from talkies.streams import Grid
from talkies.streams.batch import Condition, Memory, Stream, Text
from talkies.streams.codec import Codecs


def stacked(recipe: PhaseRecipe, *, blocks: int, steps: int) -> PhaseRecipe:
    """`recipe` with at most `blocks` blocks in each of its networks, which samples in `steps` steps."""
    shape = recipe.model.shape
    sizes = replace(
        shape,
        video=replace(shape.video, layers=min(blocks, shape.video.layers)),
        audio=replace(shape.audio, layers=min(blocks, shape.audio.layers)),
        bridge=replace(shape.bridge, layers=min(blocks, shape.bridge.layers)),
    )
    model = replace(recipe.model, preset=None, sizes=sizes)
    return replace(recipe, precision="bf16", model=model, sampling=replace(recipe.sampling, steps=steps))


def planned(recipe: PhaseRecipe) -> dict[Offload, int]:
    """Peak memory in bytes while the network evaluates, as `talkies plan --sample` estimates it, without codecs."""
    plan = plan_sampling(recipe, components=parts(recipe).components, grids=check(recipe))
    return {one.offload: one.evaluating - one.codecs for one in plan.settings}


class OneSampling:
    """A model of random weights, built as that of a release, with noise and texts of a clip on `device`."""

    def __init__(self, recipe: PhaseRecipe, offload: Offload, device: torch.device) -> None:
        self.recipe = replace(recipe, sampling=replace(recipe.sampling, offload=offload))
        self.device = device
        model = build(recipe.system, recipe, parts(recipe).components, seed=None)
        hold_lowered(model)
        model.to_empty(device="cpu")
        initialise(model, 0)
        self.model = model.eval().requires_grad_(False)
        self.denoiser = denoiser_of(self.recipe, self.model, Codecs(), device)
        self.streams = _streams(recipe, check(recipe), device)
        self.texts = {name: _text(recipe.codecs[codec], device) for name, codec in _texts(recipe).items()}

    @torch.no_grad()
    def step(self) -> float:
        """Sample the clip; returns seconds. Nothing is kept from the clip before."""
        system, sampling = self.recipe.system, self.recipe.sampling
        fresh = {name: replace(text, cache=Memory()) for name, text in self.texts.items()}
        empty = {name: replace(text, cache=Memory()) for name, text in self.texts.items()}
        self._finish()
        began = time.perf_counter()
        ladder, steps = system.ladder(self.recipe), sampling.steps
        sample(
            sampling.sampler,
            guided(self.denoiser, ladder, sampling.scales, empty, steps=steps, batch=sampling.batch),
            system.network().inputs(self.recipe, self.streams),
            Condition(texts=fresh),
            {name: level_grid(sampling.schedule, name, steps) for name in parts(self.recipe).targets},
            inactive=parts(self.recipe).inactive,
        )
        self._finish()
        return time.perf_counter() - began

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _streams(recipe: PhaseRecipe, grids: Mapping[str, Grid], device: torch.device) -> dict[str, Stream]:
    found, generator = {}, torch.Generator().manual_seed(0)
    for name, grid in grids.items():
        latent = torch.randn(1, *grid.latent_shape, generator=generator).to(device)
        made = name in parts(recipe).targets
        time_of = torch.ones(1, device=device) if made else torch.zeros(1, device=device)
        found[name] = Stream(latent=latent, time=time_of, grid=grid, role="target" if made else "condition")
    return found


def _texts(recipe: PhaseRecipe) -> dict[str, str]:
    """The texts that the networks read -> their codecs."""
    return {name: codec for name, codec in recipe.system.texts(recipe.codecs).items() if name in parts(recipe).texts}


def _text(codec: Any, device: torch.device) -> Text:
    """As long as a text may be."""
    embedding = torch.randn(1, codec.length, codec.dim, generator=torch.Generator().manual_seed(1))
    return Text(embedding=embedding.to(device), length=torch.tensor([codec.length], device=device))
