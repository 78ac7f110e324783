"""Detects channels that cancel each other in their mix, as in antiphase stereo."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from talkies.media.container import need_stream, opened
from talkies.media.decoding import sounds
from talkies.media.downmix import Values, channel_values, mix_weights

CANCELLED = 0.2
"""The channels cancel if the mix has less than this share (-14 dB) of the level that the loudest channel alone would
give it. A single active channel gives all of it; uncorrelated channels give more."""
LOW = 4000
"""Sample rate of the analysis: AAC, Opus and Vorbis replace higher frequencies by noise that differs between channels
and does not cancel. Measured ratios for antiphase voices and noise: up to 1.7 over all frequencies, at most 0.16 below
2 kHz (Opus at 32 kbit/s replaces voices, too: 0.53)."""
HEARD = 0.1
"""Share of a channel's level that must be below 2 kHz for this band to represent it."""


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """RMS levels: of the mix, and of the channel that is loudest in it."""

    mix: float
    channel: int
    level: float


def find_cancellation(path: Path | str, *, begin: float, seconds: float | Fraction) -> Cancellation | None:
    """The levels of `seconds` of a file's sound, from `begin` in the file's own time, if its channels cancel; else
    None.

    Raises MediaError if the sound cannot be decoded.
    """
    pieces: list[Values] = []
    layout, rate = "", 0
    with opened(path) as container:
        for time, frame in sounds(container, need_stream(container, "audio", path), path):
            if time < begin - frame.samples / frame.sample_rate:
                continue
            if time > begin + seconds:
                break
            if (frame.layout.name, frame.sample_rate) != (layout, rate):
                pieces, layout, rate = [], frame.layout.name, frame.sample_rate
            pieces.append(channel_values(frame))
    if not pieces:
        return None
    values, weights = np.concatenate(pieces, axis=1), mix_weights(layout)
    levels = _levels(values)
    low = resample_poly(values, *Fraction(LOW, rate).as_integer_ratio(), axis=1) if rate > LOW else values
    loudest = int(np.argmax(weights * _levels(low)))
    alone = _levels(low)[loudest]
    if alone < HEARD * levels[loudest] or _level(weights @ low) >= CANCELLED * weights[loudest] * alone:
        return None
    return Cancellation(mix=_level(weights @ values), channel=loudest, level=float(levels[loudest]))


def _levels(values: Values) -> Values:
    levels: Values = np.sqrt(np.square(values).mean(axis=1))
    return levels


def _level(values: Values) -> float:
    return float(np.sqrt(np.square(values).mean()))
