"""Whether the channels of a file cancel each other in their mix, as antiphase stereo does."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from talkies.media.container import need_stream, opened
from talkies.media.decoding import sounds
from talkies.media.downmix import Values, channel_values, mix_weights

CANCELLED = 0.2
"""Of what the loudest channel alone would give the mix, the share (-14 dB) below which the channels cancel. A channel
that sounds alone gives all of it; channels that have nothing in common, more."""
LOW = 4000
"""Samples a second of the sound that is looked at: AAC, Opus and Vorbis replace what is higher by noise that is another
one in each channel, and does not cancel. Measured of antiphase voices and noise, of all that is heard: up to 1.7; below
2 kHz: at most 0.16 (Opus at 32 kbit/s, which stores voices like that, too: 0.53)."""
HEARD = 0.1
"""Of a channel's level, what must be left below 2 kHz, so that it tells about all."""


@dataclass(frozen=True, kw_only=True)
class Cancelling:
    """RMS levels: of the mix, and of the channel that is loudest in it."""

    mix: float
    channel: int
    level: float


def find_cancelling(path: Path | str, *, begin: float, seconds: float | Fraction) -> Cancelling | None:
    """The channels of `seconds` of a file's sound, from `begin` in the file's own time, where they cancel; else None.

    Raises MediaError for what cannot be decoded.
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
    return Cancelling(mix=_level(weights @ values), channel=loudest, level=float(levels[loudest]))


def _levels(values: Values) -> Values:
    levels: Values = np.sqrt(np.square(values).mean(axis=1))
    return levels


def _level(values: Values) -> float:
    return float(np.sqrt(np.square(values).mean()))
