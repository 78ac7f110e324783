"""The exact measures of what is heard of a speaker and of a setting: pitch and noise."""

import torch
from torch import Tensor

from talkies.world.noises import NOISES
from talkies.world.portraits import KINDS
from talkies.world.speakers import PITCHES

PITCH_RANGE = (80.0, 360.0)
PERIODIC = 0.9
"""A shift is a period if the sound agrees with itself as well as this, relative to the best shift."""
HISS_BAND, HUM_BAND = (4500.0, 7500.0), (40.0, 76.0)
AUDIBLE = {"hiss": 3e-5, "hum": 3e-5}


def pitch(samples: Tensor, sample_rate: int) -> float:
    """Pitch in Hz of a steady voice in mono samples [S]: the shortest period in PITCH_RANGE of the sound above it."""
    power = _power(samples)
    power[: round(PITCH_RANGE[0] * len(samples) * 2 / sample_rate)] = 0
    agreement = torch.fft.irfft(power)
    low, high = (round(sample_rate / f) for f in reversed(PITCH_RANGE))
    shifts = agreement[low : high + 1]
    peaks = (shifts[1:-1] >= shifts[:-2]) & (shifts[1:-1] >= shifts[2:]) & (shifts[1:-1] >= PERIODIC * shifts.max())
    return sample_rate / (low + 1 + int(peaks.double().argmax()))


def pitch_kind(samples: Tensor, sample_rate: int) -> int:
    """Index into KINDS: the kind of face that goes with the pitch of mono samples [S]."""
    limits = [(PITCHES[a][1] * PITCHES[b][0]) ** 0.5 for a, b in zip(KINDS, KINDS[1:], strict=False)]
    return sum(pitch(samples, sample_rate) > limit for limit in limits)


def _power(samples: Tensor) -> Tensor:
    """Power [S + 1] of the frequencies of samples [S], completed with as much silence."""
    return torch.fft.rfft(samples.double(), 2 * len(samples)).abs().square()
