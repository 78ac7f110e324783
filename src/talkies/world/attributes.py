"""The exact measures of what is seen of a speaker: kind of face, wall, shirt, and identity.

All are closed-form and measured on decoded frames, never on latents: the mean colour, over a clip, of the areas where
`portraits.py` paints. What has few values is told by the nearest of their colours; identity is a vector of colours.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from talkies.world.faces import CHEEKS, RGB, Box
from talkies.world.portraits import (
    BEARD,
    BEARD_SEEN,
    GLASSES_SEEN,
    HAIR_SEEN,
    HOOD,
    HOOD_SEEN,
    KINDS,
    SHIRT_SEEN,
    SHIRTS,
    WALL_SEEN,
    WALLS,
)
from talkies.world.sync import LUMA, region

UNDECIDED = 0.5
"""How much of a beard or a hood must be there: none is 0, all is 1."""


def face_kind(frames: Tensor) -> int:
    """Index into KINDS of frames [F, 3, H, W] in [-1, 1]: whether the chin is as dark as a beard, and the sides of the
    face as bright as a hood, and not as the cheeks and the wall."""
    chin, cheeks, sides, wall = (
        _luma(mean_colour(frames, boxes)) for boxes in (BEARD_SEEN, CHEEKS, HOOD_SEEN, WALL_SEEN)
    )
    beard = _share(chin, cheeks, _luma(torch.tensor(BEARD).double()))
    hood = _share(sides, wall, _luma(torch.tensor(HOOD).double()))
    evidence = {"bearded": beard, "shaven": UNDECIDED, "hooded": hood}
    return KINDS.index(max(evidence, key=evidence.__getitem__))


def background(frames: Tensor) -> int:
    """Index into WALLS, and so into NOISES, of frames [F, 3, H, W] in [-1, 1]."""
    return nearest(mean_colour(frames, WALL_SEEN), WALLS.values())


def shirt(frames: Tensor) -> int:
    """Index into SHIRTS of frames [F, 3, H, W] in [-1, 1]."""
    return nearest(mean_colour(frames, SHIRT_SEEN), SHIRTS.values())


def named_shirt(caption: str) -> int | None:
    """Index into SHIRTS of the shirt that a caption names; None if it names none."""
    named = [colour for colour in SHIRTS if f"{colour} shirt" in caption]
    return [*SHIRTS].index(named[0]) if named else None


def identity(frames: Tensor) -> Tensor:
    """[9] fp64: the colours of hair, glasses and skin in frames [F, 3, H, W] in [-1, 1]. Their Euclidean distance says
    how much two speakers differ."""
    return torch.cat([mean_colour(frames, boxes) for boxes in (HAIR_SEEN, GLASSES_SEEN, CHEEKS)])


def nearest_identities(clips: Sequence[Tensor], images: Sequence[Tensor]) -> list[int]:
    """For each of the clips [F, 3, H, W] the index of the image [3, H, W] that shows the nearest identity."""
    seen, shown = (
        torch.stack([identity(film) for film in films]) for films in (clips, [image[None] for image in images])
    )
    distances = torch.cdist(seen, shown)
    return [int(index) for index in distances.argmin(1)]


def mean_colour(frames: Tensor, boxes: tuple[Box, ...]) -> Tensor:
    """Mean colour [3] fp64 in [0, 1] of boxes in 32nds of the frame."""
    planes = (frames.double() + 1) / 2
    means = [torch.stack([region(planes[:, c], box).mean() for c in range(3)]) for box in boxes]
    return torch.stack(means).mean(0)


def _luma(colour: Tensor) -> float:
    return float(colour @ torch.tensor(LUMA, dtype=torch.float64))


def _share(found: float, none: float, all_of_it: float) -> float:
    """How far `found` is on the way from `none` to `all_of_it`; 0 if these are equal."""
    return (found - none) / (all_of_it - none) if all_of_it != none else 0.0


def nearest(colour: Tensor, colours: Iterable[RGB]) -> int:
    """Index of the one of `colours` that is nearest to a colour [3] fp64 in [0, 1]."""
    return int((torch.tensor([*colours], dtype=torch.float64) - colour).square().sum(1).argmin())
