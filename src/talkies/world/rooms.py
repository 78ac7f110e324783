"""The settings in which scripts are heard: as they are, with noise, or with an echo."""

import numpy as np

from talkies.world.voices import SAMPLE_RATE, Array

ROOMS: dict[str, str] = {"clean": "quiet", "noisy": "hiss", "echoing": "quiet"}
"""The noise of NOISES that is heard in a setting: the wall shows it, as for all speakers."""
HISS = 0.012
"""RMS of the noise. A voice at its loudest has about 0.1."""
REVERBERATION = 0.6
"""Seconds in which the echo falls by 60 dB."""
DELAY = 0.01
"""Seconds after which it begins."""
WET = 0.75
"""RMS of the echo of a long steady sound, relative to that sound."""


def heard(setting: str, voice: Array, rng: np.random.Generator) -> Array:
    """The samples [samples] at SAMPLE_RATE of a voice in a setting of SETTINGS."""
    if setting == "noisy":
        return voice + HISS * rng.standard_normal(len(voice))
    return voice + _echo(voice, rng) if setting == "echoing" else voice


def _echo(voice: Array, rng: np.random.Generator) -> Array:
    """The voice through a random response that falls exponentially."""
    clock = np.arange(round(REVERBERATION * SAMPLE_RATE)) / SAMPLE_RATE
    response = rng.standard_normal(len(clock)) * 10 ** (-3 * clock / REVERBERATION)
    response *= (clock >= DELAY) * WET / np.sqrt(np.square(response).sum())
    size = len(voice) + len(clock)
    spectrum = np.fft.rfft(voice, size) * np.fft.rfft(response, size)
    echo: Array = np.fft.irfft(spectrum, size)[: len(voice)]
    return echo
