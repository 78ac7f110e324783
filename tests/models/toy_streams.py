"""A MOVA whose towers differ in everything they may differ in, and random streams for it or another shape."""

from fractions import Fraction
from types import SimpleNamespace

import torch

from talkies.models.build import initialise
from talkies.models.mova.config import COMPONENTS, BridgeConfig, JointConfig, MovaConfig, MovaShape
from talkies.models.mova.network import Mova
from talkies.models.wan.config import TowerConfig
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text

TOY = MovaShape(
    video=TowerConfig(
        dim=96, ffn_dim=128, heads=4, layers=4, patch=(1, 2, 2), in_channels=7, out_channels=3, text_dim=20, freq_dim=32
    ),
    audio=TowerConfig(
        dim=72, ffn_dim=80, heads=3, layers=3, patch=(1,), in_channels=5, out_channels=5, text_dim=20, freq_dim=16
    ),
    bridge=BridgeConfig(layers=2, rate=25.0),
)


EXPERTS = ("video_high", "video_low")


def setup(preset: str = "toy", *, phase: object = JointConfig(), bridge: bool = True) -> SimpleNamespace:
    """What MOVA sees of a recipe."""
    return SimpleNamespace(model=MovaConfig(preset=preset, bridge=bridge), phase=phase, codecs={})


def toy(*components: str, seed: int = 0) -> Mova:
    model = Mova(TOY, components=frozenset(components or COMPONENTS))
    initialise(model, seed)
    return model


def video(batch: int = 2, *, frames: int = 3, shape: MovaShape = TOY) -> Stream:
    patch = shape.video.patch
    grid = Grid(
        channels=shape.video.out_channels,
        shape=(frames * patch[0], 2 * patch[1], 2 * patch[2]),
        rate=Fraction(shape.bridge.rate) / 4,
    )
    condition = torch.randn(batch, shape.video.in_channels - grid.channels, *grid.shape)
    return Stream(latent=torch.randn(batch, *grid.latent_shape), time=torch.rand(batch), grid=grid, condition=condition)


def audio(batch: int = 2, *, steps: int = 10, shape: MovaShape = TOY) -> Stream:
    rate = Fraction(shape.bridge.rate)
    grid = Grid(channels=shape.audio.out_channels, shape=(steps * shape.audio.patch[0],), rate=rate)
    return Stream(latent=torch.randn(batch, *grid.latent_shape), time=torch.rand(batch), grid=grid)


def condition(batch: int = 2, *, expert: int = 0, coupled: bool = True, shape: MovaShape = TOY) -> Condition:
    text = Text(embedding=torch.randn(batch, 5, shape.video.text_dim), length=torch.full((batch,), 5))
    return Condition(
        texts={"text": text},
        inactive=frozenset({EXPERTS[1 - expert]}),
        without=frozenset() if coupled else frozenset({"bridge"}),
    )
