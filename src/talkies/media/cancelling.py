"""Whether the channels of a file cancel each other in their mix, as antiphase stereo does."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from talkies.media.container import need_stream, opened
from talkies.media.decoding import sounds
from talkies.media.downmix import channel_values, mix_weights

CANCELLED = 0.1
"""Of what the loudest channel alone would give the mix, the share (-20 dB) below which the channels cancel. A channel
that sounds alone gives all of it; channels that have nothing in common, more."""


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
    powers, count = np.zeros(1), 0
    with opened(path) as container:
        for time, frame in sounds(container, need_stream(container, "audio", path), path):
            if time < begin - frame.samples / frame.sample_rate:
                continue
            if time > begin + seconds:
                break
            weights, values = mix_weights(frame.layout.name), channel_values(frame)
            # The last number is the mix's, the others the channels'.
            found = np.square(np.vstack([values, weights @ values])).sum(axis=1)
            powers = found + (powers if len(powers) == len(found) else 0)
            count += values.shape[1]
    if count == 0:
        return None
    *levels, mix = np.sqrt(powers / count)
    shares = weights * np.array(levels)
    loudest = int(np.argmax(shares))
    if mix >= CANCELLED * shares[loudest]:
        return None
    return Cancelling(mix=float(mix), channel=loudest, level=float(levels[loudest]))
