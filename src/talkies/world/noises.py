"""The noises behind the speakers' voices, far below them: what is heard of a setting."""

import numpy as np

from talkies.world.voices import SAMPLE_RATE, Array

NOISES: dict[str, float] = {"quiet": 0.0, "hiss": 0.006, "hum": 0.008}
"""RMS by kind. A voice at its loudest has about 0.1."""
HUM = (52.0, 66.0)
"""Tones of the hum in Hz, below every voice."""


def make_noise(kind: str, samples: int, rng: np.random.Generator) -> Array:
    """Samples [samples] at SAMPLE_RATE: silence, white noise, or low tones."""
    if kind == "hiss":
        return NOISES[kind] * rng.standard_normal(samples)
    phases = rng.uniform(0, 2 * np.pi, (len(HUM), 1))
    tones = np.sin(2 * np.pi * np.array(HUM)[:, None] * np.arange(samples) / SAMPLE_RATE + phases)
    hum: Array = NOISES[kind] * tones.sum(0) * (2 / len(HUM)) ** 0.5
    return hum
