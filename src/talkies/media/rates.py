"""How many pictures a second a video has, whatever its header counts."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import gcd
from pathlib import Path
from typing import Any

from talkies.media.container import MediaError, opened

ROUNDED = 0.002, 0.05
"""How far the mean rate of a short file may be from the rate at which its time stamps advance: frames divided by a
rounded duration (measured: 24.4167 for 24 in ASF). Below it 24 and 23.976 differ, beyond it the rate varies."""
SLOTTED, COUNTED = "avi", "mov"
"""AVI counts slots, which a picture may fill several of; MP4 and QuickTime divide pictures by the time they take."""
READ, MEASURED = 32, 20
"""Packets that are read, and pictures, in the order in which they are shown, that are measured among them."""
EVEN = 0.02
"""How far the measured rate may be from the one that it is taken for: time stamps are rounded (Matroska: 1 ms)."""


def frame_rate(stream: Any, path: Path | str) -> Fraction:
    """Pictures per second of a video stream; MediaError where the file does not tell.

    Headers often count half pictures (48 where 24 are meant, as ffmpeg does when it copies into AVI): where the first
    pictures last several of the header's periods each, or a part of one, it is their rate that counts.
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
    """How many of AVI's slots a picture fills, by its index; 0 where that is missing or has one picture only.

    The first does not count: ffmpeg puts it into slot 0, whenever it is shown, and the others where they belong.
    """
    gaps = _gaps(stream)
    return gcd(*(gaps[1:] or gaps))


def first_slot(stream: Any) -> int:
    """The slot after (before, if negative) its own in which AVI's first picture keeps the distance of the others."""
    gaps, each = _gaps(stream), slots_each(stream)
    return 0 if not each else gaps[0] - each if gaps[0] < each else gaps[0] % each


def held(stream: Any) -> float:
    """Seconds for which AVI shows its first picture longer than every other, where all others last equally long."""
    gaps = _gaps(stream) if SLOTTED in stream.container.format.name.split(",") else []
    return float((gaps[0] - gaps[1]) * stream.time_base) if len(set(gaps[1:])) == 1 else 0.0


def _gaps(stream: Any) -> list[int]:
    return [after - before for before, after in pairwise(entry.timestamp for entry in stream.index_entries)]


def _measured(rates: Sequence[Fraction], spacing: float) -> Fraction:
    """The first of `rates` that, times or divided by a whole number, shows pictures `spacing` seconds apart; else the
    first as it is."""
    for rate in rates if spacing else ():
        periods = float(rate) * spacing
        whole = round(max(periods, 1 / periods))
        factor = Fraction(whole) if periods > 1 else Fraction(1, whole)
        if abs(periods / float(factor) - 1) < EVEN:
            return rate / factor
    return rates[0]


def _spacing(index: int, path: Path | str) -> float:
    """The mean distance of the first pictures in seconds; 0 where there are none with times."""
    times = list[float]()
    with opened(path) as container:
        for _, packet in zip(range(READ), container.demux(container.streams[index]), strict=False):
            if packet.pts is not None:
                times.append(float(packet.pts * packet.time_base))
    times = sorted(times)[:MEASURED]
    return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
