"""One forward and backward pass of the toy, with 18 video and 7 audio tokens: 4 divides neither."""

from collections.abc import Collection
from fractions import Fraction

import torch
from gradients import Step, backward
from torch import Tensor

from talkies.models.build import initialise
from talkies.models.mova.config import COMPONENTS, PRESETS, MovaShape
from talkies.models.mova.network import EXPERTS, Mova
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text

TOY = PRESETS["toy"]
GRIDS: dict[str, Grid] = {
    "video": Grid(channels=TOY.video.out_channels, shape=(3, 4, 6), rate=Fraction(6)),
    "audio": Grid(channels=TOY.audio.out_channels, shape=(7,), rate=Fraction(25, 2)),
}


def toy(shape: MovaShape = TOY, components: Collection[str] = COMPONENTS) -> Mova:
    """The same weights every time."""
    model = Mova(shape, components=frozenset(components))
    initialise(model, 1)
    return model


def streams(batch: int, *, padded: bool, seed: int) -> dict[str, Stream]:
    made: dict[str, Stream] = {}
    generator = torch.Generator().manual_seed(seed)
    for m, grid in GRIDS.items():
        mask = torch.ones(batch, grid.shape[0], dtype=torch.bool)
        mask[-1, -1] = not padded
        shape = (batch, TOY.video.in_channels - TOY.video.out_channels, *grid.shape)
        made[m] = Stream(
            latent=torch.randn(batch, *grid.latent_shape, generator=generator),
            time=torch.rand(batch, generator=generator),
            grid=grid,
            condition=torch.randn(shape, generator=generator) if m == "video" else None,
            mask=mask if padded else None,
        )
    return made


def loss_of(
    model: Mova, *, padded: bool = False, seed: int = 3, expert: int = 0, only: Collection[str] = tuple(GRIDS)
) -> Tensor:
    text = torch.randn(2, 5, TOY.video.text_dim, generator=torch.Generator().manual_seed(seed + 1))
    texts = {"text": Text(embedding=text, length=torch.tensor([5, 5]))}
    condition = Condition(texts=texts, inactive=frozenset({EXPERTS[1 - expert]}))
    given = {m: stream for m, stream in streams(2, padded=padded, seed=seed).items() if m in only}
    return torch.stack([x.square().mean() for x in model(given, condition).values()]).sum()


def step(
    model: Mova, *, padded: bool = False, seed: int = 3, expert: int = 0, only: Collection[str] = tuple(GRIDS)
) -> Step:
    """Loss and gradients of one backward pass."""
    model.zero_grad()
    return backward(model, loss_of(model, padded=padded, seed=seed, expert=expert, only=only))
