"""A small MTV on every backbone, and random streams for it."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import cog_toy
import torch
from cog_toy import drawn
from torch import Tensor

from talkies.models.cogvideox.config import CogVideoXConfig
from talkies.models.mtv.config import ControlShape, MtvShape
from talkies.models.mtv.network import Mtv
from talkies.models.wan.config import TowerConfig
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text

CONTROL = ControlShape(features=6, reach=1, hidden=10, tokens=2, width=16, interactions=2, heads=4, mlp=20)
ROPE = replace(cog_toy.ROPE, sample_size=(4, 6))
"""Of samples of 3 steps of 2 x 3 tokens."""
BACKBONES: dict[str, CogVideoXConfig | TowerConfig] = {
    "cogvideox": ROPE,
    "cogvideox-sincos": replace(ROPE, positions="sincos"),
    "cogvideox-learned": replace(ROPE, positions="learned", in_channels=8),
    "wan": TowerConfig(
        dim=144, ffn_dim=80, heads=6, layers=3, patch=(1, 2, 2), in_channels=5, out_channels=5, text_dim=20, freq_dim=32
    ),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "one speaker": {},
    "two speakers": {"speakers": 2},
    "one attention for all": {"injection": "shared", "speakers": 2},
    "music by interval": {"music": "interval"},
    "one attention, music by interval": {"injection": "shared", "music": "interval"},
    "two intervals": {"intervals": 2},
    "tokens on their own": {"convolution": "per_token"},
}
"""Keys of ControlShape."""
ZERO = (".style.", "attention.o.")
"""Parts of the names of what begins at 0, so that the backbone is unchanged."""
STEPS, SPACE = 3, 6
TRACKS = ("speech", "speech2", "effects", "music")


def shape(backbone: str = "cogvideox", **keys: Any) -> MtvShape:
    return MtvShape(backbone=BACKBONES[backbone], control=replace(CONTROL, **keys))


def toy(backbone: str = "cogvideox", *, components: tuple[str, ...] | None = None, **keys: Any) -> Mtv:
    """With all parameters drawn."""
    found = shape(backbone, **keys)
    model = Mtv(found, components=(*found.components, "control") if components is None else components)
    drawn(model)
    return model


def video(batch: int = 2, *, levels: Tensor | None = None, steps: int = STEPS) -> Stream:
    """Samples of different noise levels, at 6 latent steps of 4 frames a second."""
    grid = Grid(channels=5, shape=(steps, 4, 6), rate=Fraction(6))
    time = torch.rand(batch) if levels is None else levels
    return Stream(latent=torch.randn(batch, *grid.latent_shape), time=time, grid=grid)


def track(batch: int = 2, *, steps: int = 19, rate: Fraction = Fraction(50), features: int = 6) -> Stream:
    grid = Grid(channels=features, shape=(steps,), rate=rate)
    return Stream(latent=torch.randn(batch, *grid.latent_shape), time=torch.zeros(batch), grid=grid, role="condition")


def streams(model: Mtv, batch: int = 2, *, levels: Tensor | None = None) -> dict[str, Stream]:
    """A video, and every track that the model hears."""
    heard = model.shape.control.tracks if model.control is not None else ()
    return {"video": video(batch, levels=levels), **{name: track(batch) for name in heard}}


def condition(batch: int = 2, **keys: Any) -> Condition:
    text = Text(embedding=torch.randn(batch, 7, 20), length=torch.full((batch,), 7))
    return Condition(texts={"text": text}, **keys)
