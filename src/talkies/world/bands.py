"""The bands in which the tracks of the world's scenes are heard, and sound split into them."""

from collections.abc import Collection

import torch
from torch import Tensor

from talkies.codecs.demix_config import BandsConfig

BANDS: dict[str, tuple[float, float]] = BandsConfig().bands
"""Track -> its band in Hz: by default, the demixer of bands parts the tracks of the world. No two overlap, so that a
filter tells the tracks of a sum apart."""
MARGIN = 0.25
"""Seconds by which a sound is mirrored at its ends, so that a tone that is cut there does not click in every band."""


def split(samples: Tensor, sample_rate: int, tracks: Collection[str] = tuple(BANDS)) -> dict[str, Tensor]:
    """Mono samples [S], S >= 2 -> the samples [S] fp64 of these tracks; what lies between their bands is dropped."""
    around = min(round(MARGIN * sample_rate), len(samples) - 1)
    mirrored = torch.nn.functional.pad(samples.double().cpu()[None], (around, around), mode="reflect")[0]
    spectrum = torch.fft.rfft(mirrored)
    frequency = torch.fft.rfftfreq(len(mirrored), 1 / sample_rate, dtype=torch.float64)
    found = {}
    for track in tracks:
        low, high = BANDS[track]
        band = spectrum * ((frequency >= low) & (frequency <= high))
        found[track] = torch.fft.irfft(band, len(mirrored))[around : around + len(samples)]
    return found
