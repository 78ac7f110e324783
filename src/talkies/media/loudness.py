"""Loudness of sound (ITU-R BS.1770), and bringing a clip to a target without clipping it."""

import warnings
from dataclasses import dataclass
from math import ceil, inf, log10, sqrt

import numpy as np
import pyloudnorm
import torch
from torch import Tensor

BLOCK = 0.4
"""Seconds of a BS.1770 gating block."""
PEAK = 10 ** (-1 / 20)
"""Largest sample after normalisation: EBU R 128's -1 dB."""
CLOSE = 0.05
"""LU within which a target is reached."""
ROUNDS = 24


@dataclass(frozen=True, kw_only=True)
class Gain:
    """`factor` to multiply samples with; `limited` where the peak, not the target, decided it."""

    factor: float
    limited: bool


def loudness(samples: Tensor, sample_rate: int) -> float:
    """Integrated loudness in LUFS of mono samples [S]; -inf where no block reaches the gate of -70 LUFS (silence).

    A clip shorter than a gating block is measured in one block of its own length. ValueError for no samples.
    """
    if samples.ndim != 1 or len(samples) == 0:
        raise ValueError(f"loudness needs mono samples [S], found shape {tuple(samples.shape)}")
    whole, values = ceil(BLOCK * sample_rate), samples.double()
    if len(samples) < whole:
        # pyloudnorm rounds a block of another length to more samples than there are. Filled up to its usual block and
        # amplified by as much as that dilutes it, the clip has the mean square of its own length.
        values = torch.nn.functional.pad(values, (0, whole - len(values))) * sqrt(whole / len(samples))
    # Silence makes pyloudnorm take the logarithm of zero and the mean of nothing; it then answers nan or -inf.
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice", category=RuntimeWarning)
        found = float(pyloudnorm.Meter(sample_rate, block_size=BLOCK).integrated_loudness(values.numpy()))
    return found if np.isfinite(found) else -inf


def gain_to(samples: Tensor, sample_rate: int, target: float) -> Gain | None:
    """The gain that brings samples [S] to within 0.05 LU of `target` LUFS, or as far as their peak allows. None where
    they have no loudness, whose gain nothing tells.

    What gain does to loudness is not quite what it does to level: with it, quiet blocks pass the gate of -70 LUFS and
    lower the mean. So it is measured after each step, between a gain that is too small and one that is too large:
    loudness rises steadily and only ever jumps down, so that it meets the target between the two.
    """
    if loudness(samples, sample_rate) == -inf:
        return None
    allowed = 20 * log10(PEAK / float(samples.abs().max()))
    gain, low, high = min(0.0, allowed), -inf, inf
    for _ in range(ROUNDS):
        found = loudness(samples * 10 ** (gain / 20), sample_rate)
        missing = target - found
        if abs(missing) <= CLOSE or (missing > 0 and gain == allowed):
            break
        low, high = (gain, high) if missing > 0 else (low, gain)
        gain = min(gain + missing, allowed)
        if not low < gain < high:
            gain = (low + high) / 2
    return Gain(factor=10 ** (gain / 20), limited=target - found > CLOSE)


def normalise(samples: Tensor, sample_rate: int, target: float) -> Tensor:
    """Samples [S] at `target` LUFS, or at the loudness at which their peak reaches -1 dB. What has no loudness stays as
    it is."""
    gain = gain_to(samples, sample_rate, target)
    return samples if gain is None else samples * gain.factor
