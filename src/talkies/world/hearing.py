"""The exact measures of what is heard of a speaker and of a setting: pitch and noise.

They are closed-form and measured on samples; neither depends on the level of the sound.
"""

from itertools import pairwise

import torch
from torch import Tensor

from talkies.world.noises import NOISES
from talkies.world.portraits import KINDS
from talkies.world.speakers import PITCHES

PITCH_RANGE = (80.0, 360.0)
PERIODIC = 0.9
"""A shift is a period if the sound agrees with itself as well as this, relative to the best shift."""
BANDS = {"hiss": (4500.0, 7500.0), "hum": (40.0, 76.0)}
"""Where a noise is heard in Hz, above and below every voice."""
AUDIBLE = {"hiss": 1e-4, "hum": 3e-4}
"""The share of a sound's power in the band of a noise from which on that noise is there."""
SILENCE = 1e-12
"""Power of a sound in which nothing is heard."""


def pitch(samples: Tensor, sample_rate: int) -> float:
    """Pitch in Hz of a steady voice in mono samples [S]: the shortest period in PITCH_RANGE of the sound above it."""
    low, high = (round(sample_rate / f) for f in reversed(PITCH_RANGE))
    size = 2 * max(len(samples), high + 2)  # completed with as much silence, so that no shift wraps around
    power = torch.fft.rfft(samples.double(), size).abs().square()
    power[: round(PITCH_RANGE[0] * size / sample_rate)] = 0
    shifts = torch.fft.irfft(power)[low : high + 1]
    peaks = (shifts[1:-1] >= shifts[:-2]) & (shifts[1:-1] >= shifts[2:]) & (shifts[1:-1] >= PERIODIC * shifts.max())
    return sample_rate / (low + 1 + int(peaks.double().argmax()))


def pitch_kind(samples: Tensor, sample_rate: int) -> int:
    """Index into KINDS: the kind of face that goes with the pitch of mono samples [S]."""
    limits = [(PITCHES[a][1] * PITCHES[b][0]) ** 0.5 for a, b in pairwise(KINDS)]
    heard = pitch(samples, sample_rate)
    return sum(heard > limit for limit in limits)


def noise_kind(samples: Tensor, sample_rate: int) -> int:
    """Index into NOISES, and so into WALLS: the noise behind the voice of mono samples [S]."""
    window = torch.hann_window(len(samples), dtype=torch.float64, device=samples.device)
    power = torch.fft.rfft(samples.double() * window).abs().square()
    frequency = torch.fft.rfftfreq(len(samples), 1 / sample_rate, dtype=torch.float64, device=samples.device)
    evidence = dict.fromkeys(NOISES, 1.0)
    for noise, (low, high) in BANDS.items():
        share = power[(frequency >= low) & (frequency <= high)].sum() / power.sum().clamp(min=SILENCE)
        evidence[noise] = float(share) / AUDIBLE[noise]
    return [*NOISES].index(max(evidence, key=evidence.__getitem__))
