"""Random streams for the toy preset, derived from its numbers."""

from fractions import Fraction

import torch

from talkies.models.build import build_mova
from talkies.models.config import COMPONENTS, PRESETS, MovaConfig
from talkies.models.mova import Mova
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text

TOY = PRESETS["toy"]
AUDIO_RATE = Fraction(TOY.bridge.rate)


def toy(*components: str, seed: int = 0) -> Mova:
    return build_mova(MovaConfig(preset="toy"), components=frozenset(components or COMPONENTS), seed=seed)


def video(batch: int = 2, *, frames: int = 3) -> Stream:
    patch = TOY.video.patch
    grid = Grid(
        channels=TOY.video.out_channels,
        shape=(frames * patch[0], 2 * patch[1], 2 * patch[2]),
        rate=AUDIO_RATE / 4,
    )
    condition = torch.randn(batch, TOY.video.in_channels - grid.channels, *grid.shape)
    return Stream(latent=torch.randn(batch, *grid.latent_shape), time=torch.rand(batch), grid=grid, condition=condition)


def audio(batch: int = 2, *, steps: int = 10) -> Stream:
    grid = Grid(channels=TOY.audio.out_channels, shape=(steps * TOY.audio.patch[0],), rate=AUDIO_RATE)
    return Stream(latent=torch.randn(batch, *grid.latent_shape), time=torch.rand(batch), grid=grid)


def condition(batch: int = 2, *, expert: int = 0, coupled: bool = True) -> Condition:
    text = Text(embedding=torch.randn(batch, 5, TOY.video.text_dim), length=torch.full((batch,), 5))
    return Condition(text=text, expert=expert, coupled=coupled)
