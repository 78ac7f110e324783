"""Which way up a stored picture is shown."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from torch import Tensor

from talkies.media.container import MediaError
from talkies.media.sidedata import side_data

TOLERANCE = 0.01
"""How far an entry may be from 0 or 1: files round angles (0.5 degrees)."""


class OrientationError(MediaError):
    """A picture that is shown turned by an odd angle, sheared or stretched."""


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """One of the eight ways in which a picture can lie: `transposed` (rows become columns) first, then mirrored from
    left to right (`mirrored`), then turned upside down (`flipped`)."""

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    def apply(self, picture: Tensor) -> Tensor:
        """[..., H, W] as it is shown; [..., W, H] where it is transposed."""
        picture = picture.transpose(-1, -2) if self.transposed else picture
        dims = [dim for dim, turn in ((-1, self.mirrored), (-2, self.flipped)) if turn]
        return picture.flip(dims) if dims else picture


UPRIGHT = Orientation()


class Turns:
    """How the pictures of one stream lie, asked in the order in which they are shown.

    Containers say it of every picture, H.264 and HEVC in a message at key pictures alone: what was said last holds
    until the next key picture.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self._last = UPRIGHT

    def of(self, frame: Any) -> Orientation:
        """Raises OrientationError as `orientation`."""
        found = _told(frame, self.path)
        if found is not None or frame.key_frame:
            self._last = found or UPRIGHT
        return self._last


def orientation(frame: Any, path: Path | str) -> Orientation:
    """How a stream's first frame is shown, and the others as `Turns` says.

    Raises OrientationError for a matrix that is none of the eight.
    """
    return _told(frame, path) or UPRIGHT


def _told(frame: Any, path: Path | str) -> Orientation | None:
    """What a frame's display matrix says, which moves the pixel at column p and row q to column a p + c q and row
    b p + d q (libavutil/display.h); None where it has none. Size and place do not matter here."""
    data = side_data(frame, Type.DISPLAYMATRIX)
    if data is None:
        return None
    entries = np.frombuffer(data, np.int32).astype(np.float64)
    (a, b, u), (c, d, v) = (entries[0:3] / (1 << 16), entries[3:6] / (1 << 16))
    size = max(abs(value) for value in (a, b, c, d))
    flat = np.array([a, b, c, d]) / (size or 1)
    near = np.abs(flat - flat.round()).max() <= TOLERANCE and not (u or v)
    signs = tuple(int(sign) for sign in flat.round())
    if near and signs[1:3] == (0, 0) and signs[0] and signs[3]:
        return Orientation(mirrored=signs[0] < 0, flipped=signs[3] < 0)
    if near and (signs[0], signs[3]) == (0, 0) and signs[1] and signs[2]:
        return Orientation(transposed=True, mirrored=signs[2] < 0, flipped=signs[1] < 0)
    raise OrientationError(
        path,
        f"its display matrix [{a:g} {b:g}; {c:g} {d:g}] turns by an odd angle, shears or stretches; only mirroring and "
        "turns by 90 degrees are applied: re-encode it upright",
    )
