"""Loudness of sound (ITU-R BS.1770), and bringing a clip to a target without clipping it."""

import warnings
from dataclasses import dataclass
from math import inf

import numpy as np
import pyloudnorm
from torch import Tensor

BLOCK = 0.4
"""Seconds of a BS.1770 gating block."""
PEAK = 10 ** (-1 / 20)
"""Largest sample after normalisation: EBU R 128's -1 dB."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """`factor` to multiply samples with; `limited` where the peak, not the target, decided it."""

    factor: float
    limited: bool


def loudness(samples: Tensor, sample_rate: int) -> float:
    """Integrated loudness in LUFS of mono samples [S]; -inf for silence.

    A clip shorter than a gating block is measured in one block of its own length. ValueError for no samples.
    """
    if samples.ndim != 1 or len(samples) == 0:
        raise ValueError(f"loudness needs mono samples [S], found shape {tuple(samples.shape)}")
    meter = pyloudnorm.Meter(sample_rate, block_size=min(BLOCK, len(samples) / sample_rate))
    # Silence makes pyloudnorm take the logarithm of zero and the mean of nothing; it then answers nan or -inf.
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice", category=RuntimeWarning)
        found = float(meter.integrated_loudness(samples.double().numpy()))
    return found if np.isfinite(found) else -inf


def gain_to(samples: Tensor, sample_rate: int, target: float) -> Gain:
    """The gain that brings samples [S] to `target` LUFS, or as far as their peak allows. Silence has a gain of 1."""
    found = loudness(samples, sample_rate)
    if found == -inf:
        return Gain(factor=1.0, limited=False)
    wanted, allowed = 10 ** ((target - found) / 20), PEAK / float(samples.abs().max())
    return Gain(factor=min(wanted, allowed), limited=allowed < wanted)


def normalise(samples: Tensor, sample_rate: int, target: float) -> Tensor:
    """Samples [S] at `target` LUFS, or at the loudness at which their peak reaches -1 dB. Silence stays as it is."""
    return samples * gain_to(samples, sample_rate, target).factor
