"""The speakers' pictures: what is seen of a speaker and of a setting, each in a large area of its own.

An area keeps its colour when the toy's video codec reduces blocks of 8 x 8 pixels to a few components, so that
`attributes.py` can tell all of it.
"""

from dataclasses import dataclass

import numpy as np

from talkies.world.faces import RGB, Box, Face, axes, oval, shrink

KINDS = ("bearded", "shaven", "hooded")
"""Kinds of face, by rising pitch of the voice."""
WALLS: dict[str, RGB] = {"quiet": (0.22, 0.34, 0.72), "hiss": (0.25, 0.58, 0.30), "hum": (0.68, 0.30, 0.24)}
"""What the wall looks like where this noise is heard."""
SHIRTS: dict[str, RGB] = {
    "red": (0.85, 0.12, 0.15),
    "yellow": (0.95, 0.85, 0.20),
    "green": (0.10, 0.60, 0.25),
    "blue": (0.15, 0.25, 0.85),
    "white": (0.96, 0.96, 0.96),
}
BEARD: RGB = (0.06, 0.05, 0.06)
HOOD: RGB = (0.97, 0.97, 0.95)

# Where each of them is seen, in 32nds of the frame as in `faces.py`.
WALL_SEEN: tuple[Box, ...] = ((0.0, 1.0, 2.2, 23.0), (29.8, 1.0, 32.0, 23.0))
HOOD_SEEN: tuple[Box, ...] = ((3.2, 8.5, 4.8, 23.0), (27.2, 8.5, 28.8, 23.0))
HAIR_SEEN: tuple[Box, ...] = ((9.0, 1.5, 23.0, 6.0),)
GLASSES_SEEN: tuple[Box, ...] = ((8.6, 9.8, 14.8, 14.2), (17.2, 9.8, 23.4, 14.2))
BEARD_SEEN: tuple[Box, ...] = ((11.0, 24.6, 21.0, 28.0),)
SHIRT_SEEN: tuple[Box, ...] = ((0.5, 27.0, 7.0, 31.5), (25.0, 27.0, 31.5, 31.5))


@dataclass(frozen=True, kw_only=True)
class Look:
    """What identifies a speaker and neither voice nor caption tells: colours of skin, hair and glasses, and the
    exponent of the face's outline."""

    skin: RGB
    hair: RGB
    glasses: RGB
    squareness: float


def paint_speaker(look: Look, *, kind: str, wall: RGB, shirt: RGB, brow: float, size: int) -> Face:
    """A speaker of this kind, in a shirt in front of a wall; `brow` in [0, 1] says how far the brows are raised."""
    x, y = axes(size)
    picture = np.empty((y.size, x.size, 3))
    picture[:] = wall
    if kind == "hooded":
        picture[oval(x, y, (2.6, -2.0, 29.4, 40.0), 4.0)] = HOOD
    picture[oval(x, y, (-6.0, 25.5, 38.0, 60.0), 6.0)] = shirt
    picture[oval(x, y, (6.0, 0.0, 26.0, 18.0), 3.0)] = look.hair
    face = oval(x, y, (5.2, 2.0, 26.8, 29.5), look.squareness)
    picture[face] = look.skin
    picture[face & (y < 7.0)] = look.hair
    if kind == "bearded":
        picture[face & (y > 24.3)] = BEARD
    for left, right in ((8.2, 15.4), (16.6, 23.8)):
        picture[oval(x, y, (left, 9.4, right, 14.6), 4.0)] = look.glasses
        picture[oval(x, y, ((left + right) / 2 - 0.7, 11.3, (left + right) / 2 + 0.7, 12.7))] = (0.1, 0.1, 0.15)
    for centre in (11.8, 20.2):
        picture[(np.abs(y - 8.6 + brow) < 0.35) & (np.abs(x - centre) < 2.6)] = (0.25, 0.15, 0.1)
    return Face(picture=shrink(picture, size), mouth=(0.20, 0.03, 0.06), squareness=2.0)
