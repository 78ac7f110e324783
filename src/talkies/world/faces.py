"""The faces of the synthetic world: drawn at any size, with a mouth at a fixed place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RGB = tuple[float, float, float]
Box = tuple[float, float, float, float]

# The scene is drawn in units of a 32nd of the frame, so that every size shows the same scene. The mouth lies inside one
# row of 8 x 8 blocks of a 32-pixel frame.
UNITS = 32.0
MOUTH: Box = (10.5, 16.2, 21.5, 23.8)
"""The region in which the mouth opens: left, top, right, bottom in 32nds of the frame."""
CHEEKS: tuple[Box, Box] = ((6.8, 17.0, 9.4, 22.0), (22.6, 17.0, 25.2, 22.0))
"""Skin beside the mouth that never moves."""

OVERSAMPLING = 4
LIPS = 0.35
GAPE = 3.3

WALLS: dict[str, RGB] = {
    "red": (0.80, 0.20, 0.20),
    "green": (0.20, 0.65, 0.30),
    "blue": (0.25, 0.40, 0.85),
    "yellow": (0.90, 0.80, 0.25),
    "purple": (0.60, 0.30, 0.70),
    "grey": (0.60, 0.60, 0.60),
}
SKINS: tuple[RGB, ...] = ((0.98, 0.84, 0.72), (0.88, 0.68, 0.52), (0.76, 0.56, 0.40))
HAIRS: dict[str, RGB] = {
    "woman": (0.45, 0.25, 0.10),
    "man": (0.12, 0.10, 0.10),
    "boy": (0.80, 0.62, 0.25),
    "girl": (0.65, 0.25, 0.10),
}
PAINTS: dict[str, RGB] = {
    "golden": (0.95, 0.78, 0.20),
    "silver": (0.80, 0.84, 0.88),
    "jade": (0.35, 0.80, 0.55),
    "coral": (0.98, 0.55, 0.45),
}
ANIMALS = ("owl", "fox", "bear", "cat")
BROWS: dict[str, tuple[float, float]] = {
    "happy": (-1.0, 0.25),
    "angry": (0.0, -0.45),
    "sad": (-0.5, 0.6),
    "calm": (0.0, 0.0),
}
"""Height and slope of the inner brow."""


@dataclass(frozen=True, kw_only=True)
class Face:
    """The static part: a painted picture [S, S, 3] in [0, 1], the colour of the mouth and the exponent of its outline
    (2: an ellipse; larger: a slot)."""

    picture: Array
    mouth: RGB
    squareness: float


def axes(size: int) -> tuple[Array, Array]:
    """x [1, n] and y [n, 1] of the fine grid, in scene units."""
    fine = size * OVERSAMPLING
    line = (np.arange(fine) + 0.5) * UNITS / fine
    return line[None, :], line[:, None]


def shrink(fine: Array, size: int) -> Array:
    """Area average of a fine picture [n, n, ...]."""
    shape = (size, OVERSAMPLING, size, OVERSAMPLING, *fine.shape[2:])
    averaged: Array = fine.reshape(shape).mean(axis=(1, 3))
    return averaged


def oval(x: Array, y: Array, box: Box, power: float = 2.0) -> NDArray[np.bool_]:
    """Mask of the superellipse that fills `box`."""
    left, top, right, bottom = box
    across = np.abs(x - (left + right) / 2) / ((right - left) / 2)
    down = np.abs(y - (top + bottom) / 2) / ((bottom - top) / 2)
    inside: NDArray[np.bool_] = across**power + down**power <= 1
    return inside


def _brows(picture: Array, x: Array, y: Array, mood: str, paint: RGB) -> None:
    height, slope = BROWS[mood]
    for centre, side in ((11.5, 1.0), (20.5, -1.0)):
        line = 8.6 + height + slope * -side * (x - centre)
        picture[(np.abs(y - line) < 0.55) & (np.abs(x - centre) < 2.4)] = paint


def _eyes(picture: Array, x: Array, y: Array, *, radius: float, white: RGB, pupil: RGB) -> None:
    for centre in (11.5, 20.5):
        picture[oval(x, y, (centre - radius, 12.0 - radius, centre + radius, 12.0 + radius))] = white
        picture[oval(x, y, (centre - 0.9, 11.1, centre + 0.9, 12.9))] = pupil


def paint_face(who: str, wall: str, mood: str, skin: int, size: int) -> Face:
    """A person in front of a coloured wall."""
    x, y = axes(size)
    picture = np.empty((size * OVERSAMPLING, size * OVERSAMPLING, 3))
    picture[:] = WALLS[wall]
    tone, hair = SKINS[skin], HAIRS[who]
    young = who in ("boy", "girl")
    if who in ("woman", "girl"):
        picture[oval(x, y, (2.5, 1.0, 29.5, 31.0), 3.0)] = hair
    else:
        picture[oval(x, y, (4.5, 0.5, 27.5, 20.0), 3.0)] = hair
    picture[oval(x, y, (5.0, 3.5 if young else 2.5, 27.0, 30.0))] = tone
    fringe = 6.5 if who in ("woman", "boy") else 5.0
    picture[oval(x, y, (4.8, 1.0, 27.2, 30.0)) & (y < fringe)] = hair
    _eyes(picture, x, y, radius=2.0 if young else 1.6, white=(1.0, 1.0, 1.0), pupil=(0.1, 0.1, 0.2))
    _brows(picture, x, y, mood, (0.25, 0.15, 0.1))
    picture[oval(x, y, (15.2, 12.5, 16.8, 15.2))] = tuple(0.85 * c for c in tone)
    return Face(picture=shrink(picture, size), mouth=(0.20, 0.03, 0.06), squareness=2.0)


def paint_mask(who: str, paint: str, mood: str, size: int) -> Face:
    """A painted animal mask in front of a dark curtain."""
    x, y = axes(size)
    picture = np.empty((size * OVERSAMPLING, size * OVERSAMPLING, 3))
    picture[:] = np.where((x % 4 < 2)[..., None], (0.10, 0.06, 0.16), (0.16, 0.10, 0.24))
    tone = PAINTS[paint]
    if who in ("fox", "cat"):
        for tip in (6.5, 25.5):
            picture[(np.abs(x - tip) < (y - 0.5) * 0.45) & (y < 9)] = tone
    if who == "bear":
        for centre in (7.0, 25.0):
            picture[oval(x, y, (centre - 4, 0.5, centre + 4, 8.5))] = tone
    picture[oval(x, y, (4.5, 4.0, 27.5, 29.5), 4.0 if who in ("owl", "bear") else 2.6)] = tone
    if who in ("owl", "cat"):
        picture[(np.abs(x - 16) < 1.2) & (y > 4) & (y < 9)] = (0.10, 0.06, 0.16)
    _eyes(picture, x, y, radius=3.0 if who == "owl" else 2.3, white=(0.05, 0.05, 0.1), pupil=(1.0, 0.95, 0.6))
    _brows(picture, x, y, mood, (0.75, 0.1, 0.1))
    picture[(np.abs(x - 16) < (y - 13.0) * 0.6) & (y < 15.4)] = (0.75, 0.1, 0.1)
    return Face(picture=shrink(picture, size), mouth=(0.04, 0.03, 0.10), squareness=6.0)


def animate(face: Face, openings: Array) -> Array:
    """Frames [F, S, S, 3] in [0, 1]: only the mouth moves; `openings` [F] in [0, 1] say how far it is open.

    The mouth's coverage of every pixel is exact, so its area grows linearly with the opening at every size.
    """
    size = face.picture.shape[0]
    left, top, right, bottom = MOUTH
    across = np.abs(axes(size)[0][0] - (left + right) / 2) / ((right - left) / 2)
    outline = np.clip(1 - across**face.squareness, 0, None) ** (1 / face.squareness)
    half = (LIPS + GAPE * openings[:, None, None]) * outline
    above = np.arange(size)[:, None] * UNITS / size - (top + bottom) / 2
    inside = np.clip(np.minimum(above + UNITS / size, half) - np.maximum(above, -half), 0, None) * size / UNITS
    alpha = inside.reshape(len(openings), size, size, OVERSAMPLING).mean(axis=-1)[..., None]
    frames: Array = face.picture * (1 - alpha) + np.array(face.mouth) * alpha
    return frames
