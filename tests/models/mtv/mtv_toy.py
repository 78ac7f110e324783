"""A small MTV on every backbone, and random streams for it."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from talkies.models.cogvideox.config import CogVideoXConfig
from talkies.models.mtv.config import ControlShape, MtvShape
from talkies.models.mtv.network import Mtv
from talkies.models.wan.config import TowerConfig
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text

CONTROL = ControlShape(features=6, reach=1, hidden=10, tokens=2, width=16, interactions=2, heads=4, mlp=20)
ROPE = CogVideoXConfig(
    layers=3,
    heads=6,
    head_dim=16,
    in_channels=5,
    out_channels=5,
    text_dim=20,
    text_length=7,
    time_dim=24,
    sample_size=(4, 6),
    sample_frames=9,
)
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
STEPS, SPACE = 3, 6
TRACKS = ("speech", "speech2", "effects", "music")


def shape(backbone: str = "cogvideox", **keys: Any) -> MtvShape:
    return MtvShape(backbone=BACKBONES[backbone], control=replace(CONTROL, **keys))


def drawn(model: torch.nn.Module, *, initial: bool = False) -> None:
    """Draw every parameter: what begins at 0 or 1 would hide faults. `initial`: but for what begins at 0 so that the
    backbone is unchanged."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if initial and (".style." in name or "attention.o." in name):
                continue
            noise = torch.randn(value.shape, generator=generator)
            one = "norm" in name and name.endswith("weight") and value.ndim == 1
            value.copy_(
                1 + noise / 5 if one else noise / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else noise / 5
            )


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
