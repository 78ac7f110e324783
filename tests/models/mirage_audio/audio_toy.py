"""A small Mirage audio, and random streams and texts for it."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import torch

from talkies.models.build import initialise
from talkies.models.mirage_audio.config import MirageAudioConfig
from talkies.models.mirage_audio.network import placed
from talkies.models.mochi.network import JointDiT
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text

CHANNELS, FEATURES, WORDS = 6, 20, 5


def toy(**keys: Any) -> JointDiT:
    config = MirageAudioConfig(preset="tiny", sound_features=CHANNELS, text_features=FEATURES, **keys)
    model = JointDiT(config.shape)
    initialise(model, 0)
    return model


def stream(batch: int = 2, *, steps: int = 7, clean: bool = False) -> Stream:
    grid = Grid(channels=CHANNELS, shape=(steps,), rate=Fraction(25, 2))
    time = torch.zeros(batch) if clean else torch.rand(batch)
    return Stream(latent=torch.randn(batch, *grid.latent_shape), time=time, grid=grid)


def streams(batch: int = 2, *, heard: int = 4) -> dict[str, Stream]:
    """A sound, and a reference of `heard` steps, as the network takes them."""
    return given({"sound": stream(batch), "reference": stream(batch, steps=heard, clean=True)})


def given(found: Mapping[str, Stream]) -> dict[str, Stream]:
    return placed(found)


def prompt(*lengths: int, names: tuple[str, ...] = ("text",)) -> Condition:
    def text() -> Text:
        return Text(embedding=torch.randn(len(lengths), WORDS, FEATURES), length=torch.tensor(lengths))

    return Condition(texts={name: text() for name in names})
