"""The frame rate of a video, independent of what its header counts."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import gcd
from pathlib import Path
from typing import Any

from talkies.media.container import MediaError, opened

FPS_TOLERANCE = 1e-3
"""Relative difference of two rates that count as one."""
ROUNDED = 0.002, 0.05
"""Range of relative deviations between the mean rate (frames divided by a rounded duration) and the rate of the time
stamps that are explained by a short duration (measured: 24.4167 for 24 in ASF). Below, 24 and 23.976 must stay
distinct; above, the rate varies."""
SLOTTED, COUNTED = "avi", "mov"
"""AVI counts slots, of which a picture may fill several; MP4 and QuickTime divide the pictures by their duration."""
READ, MEASURED = 32, 20
"""Packets to read, and pictures among them, in presentation order, to measure."""
EVEN = 0.02
"""Tolerance of the measured rate: time stamps are rounded (Matroska: 1 ms)."""


def frame_rate(stream: Any, path: Path | str) -> Fraction:
    """Pictures per second of a video stream; MediaError if it is unknown.

    Headers often count fields (48 for 24 pictures, as ffmpeg does when it copies into AVI): if each of the first
    pictures lasts several of the header's periods, or a part of one, the rate of the pictures is used.
    """
    average, guessed = stream.average_rate, stream.guessed_rate
    if not average and not guessed:
        raise MediaError(path, "its frame rate is unknown; remux it with a constant one")
    declared = Fraction(average or guessed)
    if average and guessed and ROUNDED[0] < abs(average / guessed - 1) < ROUNDED[1]:
        declared = Fraction(guessed)
    kinds = stream.container.format.name.split(",")
    if COUNTED in kinds:
        return declared
    if SLOTTED in kinds:
        return declared / ((slots_each(stream) * stream.time_base * declared) or 1)
    return _measured([declared, Fraction(guessed or declared)], _spacing(stream.index, path))


def slots_each(stream: Any) -> int:
    """How many of AVI's slots a picture fills, by its index; 0 if the index is missing or has only one picture.

    The first picture is ignored: ffmpeg puts it into slot 0, whenever it is shown, and the others into their slots.
    """
    gaps = _gaps(stream)
    return gcd(*(gaps[1:] or gaps))


def first_slot(stream: Any) -> int:
    """Slots by which AVI's first picture must be moved (negative: earlier) to have the distance of the others."""
    gaps, each = _gaps(stream), slots_each(stream)
    return 0 if not each else gaps[0] - each if gaps[0] < each else gaps[0] % each


def first_excess(stream: Any) -> float:
    """Seconds by which AVI shows its first picture longer than the others, if these all last equally long; else 0."""
    gaps = _gaps(stream) if SLOTTED in stream.container.format.name.split(",") else []
    return float((gaps[0] - gaps[1]) * stream.time_base) if len(set(gaps[1:])) == 1 else 0.0


def _gaps(stream: Any) -> list[int]:
    return [after - before for before, after in pairwise(entry.timestamp for entry in stream.index_entries)]


def _measured(rates: Sequence[Fraction], spacing: float) -> Fraction:
    """The first of `rates` that, multiplied or divided by an integer, has pictures `spacing` seconds apart; else the
    first one unchanged."""
    for rate in rates if spacing else ():
        periods = float(rate) * spacing
        whole = round(max(periods, 1 / periods))
        factor = Fraction(whole) if periods > 1 else Fraction(1, whole)
        if abs(periods / float(factor) - 1) < EVEN:
            return rate / factor
    return rates[0]


def _spacing(index: int, path: Path | str) -> float:
    """The mean distance of the first pictures in seconds; 0 if they have no times."""
    times = list[float]()
    with opened(path) as container:
        for _, packet in zip(range(READ), container.demux(container.streams[index]), strict=False):
            if packet.pts is not None:
                times.append(float(packet.pts * packet.time_base))
    times = sorted(times)[:MEASURED]
    return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
