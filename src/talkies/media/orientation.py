"""The orientation in which a stored picture is displayed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from torch import Tensor

from talkies.media.container import MediaError
from talkies.media.sidedata import side_data

TOLERANCE = 0.01
"""Tolerance of an entry from 0 or 1: files round angles (0.5 degrees)."""


class OrientationError(MediaError):
    """A picture that is displayed rotated by another angle than 90 degrees, sheared or stretched."""


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """One of the eight orientations: first `transposed` (rows become columns), then `mirrored` from left to right, then
    `flipped` upside down."""

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    def apply(self, picture: Tensor) -> Tensor:
        """[..., H, W] as displayed; [..., W, H] if transposed."""
        picture = picture.transpose(-1, -2) if self.transposed else picture
        dims = [dim for dim, turn in ((-1, self.mirrored), (-2, self.flipped)) if turn]
        return picture.flip(dims) if dims else picture


UPRIGHT = Orientation()


class Orientations:
    """The orientations of the pictures of one stream, queried in presentation order.

    Containers record it for every picture; H.264 and HEVC send a message at key pictures only, which holds until the
    next key picture.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self._last = UPRIGHT

    def of(self, frame: Any) -> Orientation:
        """Raises OrientationError as `orientation`."""
        found = _by_matrix(frame, self.path)
        if found is not None or frame.key_frame:
            self._last = found or UPRIGHT
        return self._last


def orientation(frame: Any, path: Path | str) -> Orientation:
    """The orientation of a stream's first frame; for the others see `Orientations`.

    Raises OrientationError for a display matrix that is not one of the eight.
    """
    return _by_matrix(frame, path) or UPRIGHT


def _by_matrix(frame: Any, path: Path | str) -> Orientation | None:
    """The orientation by a frame's display matrix, which moves the pixel at column p and row q to column a p + c q and
    row b p + d q (libavutil/display.h); None if it has none. Scale and translation are ignored."""
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
