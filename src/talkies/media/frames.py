"""Reads the frames of a media file as displayed: in order, upright, and at their times."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import islice, takewhile
from math import floor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from talkies.media.container import EndedError, MediaError, UnevenError, need_stream, opened
from talkies.media.decoding import pictures
from talkies.media.deinterlace import progressive
from talkies.media.interlace_detection import InterlaceDetector, Order
from talkies.media.orientation import Orientation, Orientations, orientation
from talkies.media.pixels import Rendering, Treatment
from talkies.media.rates import FPS_TOLERANCE, frame_rate
from talkies.media.timeline import Beginning, find_beginning

ROUNDING = 2e-3
"""Seconds: a frame whose time is rounded up (Matroska: 1 ms) is shown at its true time, too."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """Frames that were read: `pixels` uint8 [F, 3, H, W], the treatments that they needed besides decoding, and the
    field `order` if they were found to be interlaced, though not marked as such."""

    pixels: Tensor
    treated: frozenset[Treatment]
    order: Order | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels."""
        return self.pixels.nbytes


def read_frames(
    path: Path | str, *, frames: int, fps: float, height: int, width: int, begin: Beginning | None = None
) -> Tensor:
    """The pixels of `read_film`."""
    return read_film(path, frames=frames, fps=fps, height=height, width=width, begin=begin).pixels


def read_film(
    path: Path | str,
    *,
    frames: int,
    fps: float,
    height: int,
    width: int,
    begin: Beginning | None = None,
    order: Order | None = None,
    fewest: int | None = None,
) -> Film:
    """`frames` consecutive frames of `height` x `width` from `begin` on (default: `find_beginning(path)`).

    As displayed (`Rendering`), deinterlaced if they are marked as interlaced or combed (then the file is decoded
    twice), cropped around the centre to the target's aspect, resized (antialiased bilinear). Times are never resampled:
    raises MediaError if the file's rate is not `fps` (0.1 %) or one is damaged, UnevenError (a MediaError) if they are
    not evenly spaced, EndedError (a MediaError) if there are fewer than `fewest` (default: `frames`). `order`: the
    field order, if it was detected before.
    """
    begin = find_beginning(path) if begin is None else begin
    return _twice(
        partial(
            _read,
            path,
            begin,
            partial(_evenly, begin=begin.seconds, fps=fps, path=path),
            frames=frames,
            fewest=frames if fewest is None else fewest,
            height=height,
            width=width,
        ),
        order,
    )


def read_shown(path: Path | str, *, times: Sequence[float], height: int, width: int, begin: Beginning) -> Film:
    """As `read_film`, but at any rate, even a variable one: the frames that are shown at `times` (ascending, seconds
    after `begin`), and fewer if the film ends before: its last frame is shown for as long as the mean one."""
    chosen = partial(_shown_at, begin=begin.seconds, times=times, path=path)
    return _twice(partial(_read, path, begin, chosen, frames=len(times), fewest=1, height=height, width=width), None)


def _twice(read: Callable[..., tuple[Film, Order | None]], order: Order | None) -> Film:
    """The film, read again if it is found to be interlaced."""
    film, found = read(order=order)
    return film if found is None else replace(read(order=found)[0], order=found)


def _read(
    path: Path | str,
    begin: Beginning,
    chosen: Callable[[Iterator[tuple[float, Any]], Any], Iterator[Any]],
    *,
    frames: int,
    fewest: int,
    height: int,
    width: int,
    order: Order | None,
) -> tuple[Film, Order | None]:
    """The film, deinterlaced if `order` is given, and the field order that is detected in its frames."""
    pixels: list[Tensor] = []
    rendering, detector, orientations = Rendering(path), InterlaceDetector(), Orientations(path)
    with opened(path) as container:
        stream = need_stream(container, "video", path)
        decoded = pictures(container, stream, path)
        whole = progressive(decoded, stream, lambda: rendering.treated.add("deinterlaced"), order)
        oriented = ((time, (frame, orientations.of(frame))) for time, frame in whole)  # also before the window
        shown = ((time, pair) for time, pair in oriented if time >= begin.seconds)
        for frame, turn in islice(chosen(shown, stream), frames):
            if order is None:
                detector.note(frame)
            pixels.append(fitted(rendering.render(frame, turn), height, width, _pixel_aspect(stream, turn)))
    if len(pixels) < fewest:
        reason = f": {begin.reason}" if begin.reason else ""
        raise EndedError(path, f"ends after {len(pixels)} frames, {fewest} are needed{reason}")
    rendering.finish()
    return Film(pixels=torch.stack(pixels), treated=frozenset(rendering.treated)), detector.order


def _evenly(
    shown: Iterator[tuple[float, Any]], stream: Any, *, begin: float, fps: float, path: Path | str
) -> Iterator[Any]:
    """The frames; MediaError if the stream's rate is not `fps`, or at one that is more than half a frame from its
    expected time."""
    found = float(frame_rate(stream, path))
    if abs(found / fps - 1) > FPS_TOLERANCE:
        raise MediaError(path, f"runs at {found:g} fps, {fps:g} are needed; convert its frame rate")
    for index, (time, frame) in enumerate(shown):
        expected, found = index / fps, time - begin
        if abs(found - expected) > 0.5 / fps:
            raise UnevenError(
                path,
                f"frame {index} is shown at {found:.3f} s instead of {expected:.3f} s: frames are missing, or the rate "
                "varies; convert it to a constant one",
            )
        yield frame


def _shown_at(
    shown: Iterator[tuple[float, Any]], stream: Any, *, begin: float, times: Sequence[float], path: Path | str
) -> Iterator[Any]:
    """The frame that is shown at each time."""
    last, until, wanted, length = None, 0.0, deque(times), 1 / float(frame_rate(stream, path))
    for time, frame in shown:
        while last is not None and wanted and wanted[0] < time - begin - ROUNDING:
            wanted.popleft()
            yield last
        last, until = frame, time - begin + length
    for _ in takewhile(lambda time: time < until - ROUNDING, wanted):
        yield last


def upright_size(frame: Any, path: Path | str) -> tuple[int, int]:
    """Width and height of a frame as displayed. Raises OrientationError for an unsupported orientation."""
    return (frame.height, frame.width) if orientation(frame, path).transposed else (frame.width, frame.height)


def _pixel_aspect(stream: Any, turn: Orientation) -> Fraction:
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    return 1 / aspect if turn.transposed else aspect


def fitted(picture: Tensor, height: int, width: int, pixel_aspect: Fraction = Fraction(1)) -> Tensor:
    """uint8 [3, height, width]: the largest centred part of `picture` [3, H, W] with the target's aspect, resized.

    `pixel_aspect` is the width of a stored pixel over its height.
    """
    full_height, full_width = picture.shape[1:]
    shape = Fraction(height, width) * pixel_aspect
    tall, wide = min(full_height, floor(full_width * shape)), min(full_width, floor(full_height / shape))
    tall, wide = max(1, tall), max(1, wide)
    top, left = (full_height - tall) // 2, (full_width - wide) // 2
    part = picture[:, top : top + tall, left : left + wide].contiguous()
    if (tall, wide) == (height, width):
        return part
    return interpolate(part[None], size=(height, width), mode="bilinear", antialias=True, align_corners=False)[0]
