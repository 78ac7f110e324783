"""A small Mirage whose modalities differ in everything they may differ in, and random streams for it."""

from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch

from talkies.models.build import initialise
from talkies.models.mochi.config import JointShape, ModalityShape
from talkies.models.mochi.network import JointDiT
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text

TOY = JointShape(
    layers=3,
    heads=6,
    head_dim=8,
    target="video",
    patch=(1, 2, 2),
    modalities={
        "video": ModalityShape(width=48, channels=12),
        "text": ModalityShape(width=24, channels=40),
        "sound": ModalityShape(width=36, channels=10),
    },
    multiple=32,
    freq_dim=16,
)
TEXT = 4
SPOKEN = replace(
    TOY,
    target="sound",
    patch=(1,),
    modalities={"sound": ModalityShape(width=36, channels=10), "text": TOY.modalities["text"]},
    text_positions="learned",
)
"""Of sound alone: its reference has the same weights."""


def toy(*components: str, seed: int = 0, **keys: Any) -> JointDiT:
    """The same weights for every component every time, whichever others are built."""
    model = JointDiT(replace(TOY, **keys), components=components or None)
    initialise(model, seed)
    return model


def spoken() -> JointDiT:
    """A network that makes sounds."""
    model = JointDiT(SPOKEN)
    initialise(model, 0)
    return model


def video(batch: int = 2, *, shape: tuple[int, ...] = (3, 4, 6)) -> Stream:
    grid = Grid(channels=TOY.modalities["video"].channels, shape=shape, rate=Fraction(5))
    return Stream(latent=torch.randn(batch, *grid.latent_shape), time=torch.rand(batch), grid=grid)


def reference(batch: int = 2, *, start: float = -1.0, shape: tuple[int, ...] = (2, 4, 6)) -> Stream:
    """Two clean latent steps, which begin `start` seconds after the clip."""
    clip = video(batch, shape=shape)
    return replace(clip, time=torch.zeros(batch), start=torch.full((batch,), start), role="reference")


def sound(batch: int = 2, *, steps: int = 7) -> Stream:
    grid = Grid(channels=TOY.modalities["sound"].channels, shape=(steps,), rate=Fraction(25))
    return Stream(latent=torch.randn(batch, *grid.latent_shape), time=torch.zeros(batch), grid=grid, role="condition")


def streams(batch: int = 2) -> dict[str, Stream]:
    """Everything that the network takes."""
    return {"video": video(batch), "sound": sound(batch), "reference": reference(batch)}


def prompt(*lengths: int) -> Condition:
    """Texts of these lengths, padded with garbage."""
    text = Text(
        embedding=torch.randn(len(lengths), TEXT, TOY.modalities["text"].channels), length=torch.tensor(lengths)
    )
    return Condition(texts={"text": text})


def without(condition: Condition, *names: str) -> Condition:
    return replace(condition, without=frozenset(names))


def only(given: dict[str, Stream], names: Collection[str]) -> dict[str, Stream]:
    return {name: stream for name, stream in given.items() if name in names}
