"""Detects interlaced pictures that are not marked as such: two fields, taken one after the other, in a frame.

Fine lines, noise, cuts and crawling text look combed, too. Time distinguishes them: if something moves across a combed
place, the lines of one parity show it half a frame before those of the other, and it is always the same parity.
"""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from av.video.reformatter import VideoReformatter

Order = Literal["tff", "bff"]
COLUMNS = 128
"""Approximate number of columns to examine: combing is visible in each column alone."""
STEP = 10
"""Smallest difference that counts, in levels of 255."""
PLANAR = ("gray", "yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")
VOTES, SHARE, MAJORITY = 32, 0.002, 6
"""Combed places that must agree on the field order: their number, their share of the changing places, and their ratio
to the places that disagree. Measured (H.264 of crf 0 to 30, 64 to 576 lines, films and drawings,
tests/media/test_media_interlace_detection.py): interlaced pictures have a share of 0.8 to 20 % and mostly a ratio of
30 to 10,000; others a share below 0.1 %, or a ratio of at most 4."""

AGREED = 0.02
"""Share of the combed places that must agree. Measured: 4 to 85 % if interlaced, 0.5 % for a game behind scan lines."""

Values = np.ndarray[Any, np.dtype[np.int16]]


class InterlaceDetector:
    """Examines pictures in presentation order."""

    def __init__(self) -> None:
        self._shown: deque[Values] = deque(maxlen=3)
        self._converter = VideoReformatter()
        self._changed: np.ndarray | None = None
        self._changing, self._combed = 0, 0
        self._votes = {"tff": 0, "bff": 0}

    def note(self, frame: Any) -> None:
        """Take the next picture into account."""
        luma = self._luma(frame)
        step = max(1, luma.shape[1] // COLUMNS)
        columns = luma[:, step // 2 :: step].astype(np.int16)
        if self._shown and self._shown[-1].shape != columns.shape:
            self._shown.clear()
            self._changed = None
        self._shown.append(columns)
        if len(self._shown) == 3 and len(columns) >= 5:
            self._vote(*self._shown)

    def _luma(self, frame: Any) -> np.ndarray:
        """uint8 [H, W], without a copy if the frame has a luma plane."""
        if frame.format.name in PLANAR:
            plane = frame.planes[0]
            return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        return np.asarray(self._converter.reformat(frame, format="gray8", threads=1).to_ndarray())

    @property
    def order(self) -> Order | None:
        """Which lines are shown first ("tff": the even ones); None if the pictures are not interlaced or this cannot be
        determined."""
        tff, bff = self._votes["tff"], self._votes["bff"]
        if max(tff, bff) < max(VOTES, SHARE * self._changing, AGREED * self._combed, MAJORITY * min(tff, bff)):
            return None
        return "tff" if tff > bff else "bff"

    def _vote(self, before: Values, now: Values, after: Values) -> None:
        changed = _changing(before, now) if self._changed is None else self._changed
        self._changed = _changing(now, after)
        self._changing += int(np.count_nonzero(self._changed))
        rows, columns = np.divmod(np.flatnonzero(_combed(now) & (self._changed | changed)), now.shape[1])
        self._combed += len(rows)
        even = rows % 2 == 0
        own, other = zip(*(_fields(shown, rows, columns) for shown in (before, now, after)), strict=True)
        tops, bottoms = (
            [np.where(even, a, b) for a, b in zip(*pair, strict=True)] for pair in ((own, other), (other, own))
        )
        self._votes["tff"] += _consistent(tops, bottoms)
        self._votes["bff"] += _consistent(bottoms, tops)


def _changing(before: Values, after: Values) -> np.ndarray:
    """Mask of the changed places, without the first and last two lines."""
    return np.asarray(np.abs(after - before)[2:-2] > STEP)


def _combed(shown: Values) -> np.ndarray:
    """Mask of the places where five lines alternate: all lines of one parity are brighter than all of the other.
    Without the first and last two lines."""
    height = len(shown)
    first, second, third, fourth, fifth = (shown[index : height - 4 + index] for index in range(5))
    lowest, highest = np.minimum(np.minimum(first, third), fifth), np.maximum(np.maximum(first, third), fifth)
    above, below = lowest - np.maximum(second, fourth), np.minimum(second, fourth) - highest
    return np.asarray(np.maximum(above, below) > STEP)


def _fields(shown: Values, rows: np.ndarray, columns: np.ndarray) -> tuple[Values, Values]:
    """At places of `_combed`: the value of the line itself, and that of its neighbours, which have the other parity."""
    return shown[rows + 2, columns], (shown[rows + 1, columns] + shown[rows + 3, columns]) // 2


def _consistent(first: Sequence[Values], second: Sequence[Values]) -> int:
    """Number of places where the values of three pictures are monotonic, if each shows `first` before `second`."""
    rise = second[1] - first[1]
    slack = np.abs(rise) // 4
    values = [value for pair in zip(first, second, strict=True) for value in pair]
    steps = [after - before for before, after in pairwise(values)]
    return int(np.logical_and.reduce([np.sign(rise) * step >= -slack for step in steps]).sum())
