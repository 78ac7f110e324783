"""Loudness of sound (ITU-R BS.1770), and normalisation to a target without clipping."""

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
"""Tolerance of a target in LU."""
ROUNDS = 24


@dataclass(frozen=True, kw_only=True)
class Gain:
    """`factor` to multiply samples with; `limited` if it is determined by the peak instead of the target."""

    factor: float
    limited: bool


def loudness(samples: Tensor, sample_rate: int) -> float:
    """Integrated loudness in LUFS of mono samples [S]; -inf if no block reaches the gate of -70 LUFS (silence).

    A clip shorter than a gating block is measured in one block of its own length. ValueError for no samples.
    """
    if samples.ndim != 1 or len(samples) == 0:
        raise ValueError(f"loudness needs mono samples [S], found shape {tuple(samples.shape)}")
    whole, values = ceil(BLOCK * sample_rate), samples.double()
    if len(samples) < whole:
        # pyloudnorm may round a block of another length to more samples than there are. Padded to the usual block and
        # amplified to compensate, the clip has the mean square of its own length.
        values = torch.nn.functional.pad(values, (0, whole - len(values))) * sqrt(whole / len(samples))
    # For silence, pyloudnorm takes the logarithm of zero and the mean of an empty slice; it returns nan or -inf.
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice", category=RuntimeWarning)
        found = float(pyloudnorm.Meter(sample_rate, block_size=BLOCK).integrated_loudness(values.numpy()))
    return found if np.isfinite(found) else -inf


def gain_to(samples: Tensor, sample_rate: int, target: float) -> Gain | None:
    """The gain that brings samples [S] to within 0.05 LU of `target` LUFS, or as close as their peak allows. None if
    they have no loudness.

    Loudness does not rise exactly with gain: at a higher gain, more quiet blocks pass the gate of -70 LUFS and lower
    the mean. So loudness is measured after each step, and the gain is bracketed between one that is too small and one
    that is too large: loudness is continuous except for downward jumps, so it reaches the target between them.
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
    """Samples [S] at `target` LUFS, or at the loudness at which their peak reaches -1 dB. Samples without loudness are
    unchanged."""
    gain = gain_to(samples, sample_rate, target)
    return samples if gain is None else samples * gain.factor
