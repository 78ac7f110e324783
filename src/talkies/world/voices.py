"""The voices of the synthetic world: syllables at random times, sung by a harmonic source."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SAMPLE_RATE = 16000
CEILING = 3600.0
PEAK = 0.5

# Loudness follows a stationary renewal process: gaps of exponential length, syllables of random length and level. A
# warm-up before the clip makes the loudness nearly independent of the time since its start.
GAP = 0.5
SYLLABLE = (0.25, 0.5)
LEVEL = (0.35, 1.0)
WARM_UP = 3.0
CLOSED = 0.02
HEARD = (0.3, 0.1)


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A steady timbre: fundamental in Hz, spectral tilt (amplitude of harmonic h is h^-tilt), formants in Hz, and
    whether even harmonics are nearly missing (a hollow sound)."""

    pitch: float
    tilt: float
    formants: tuple[float, ...]
    hollow: bool = False


def draw_loudness(rng: np.random.Generator, samples: int, first_frame: int) -> Array:
    """Amplitude [samples] in [0, 1] of one clip: silent over its first `first_frame` samples, and audible for at least
    a tenth of it. Other draws are rejected and repeated with the same generator."""
    while True:
        loudness = _syllables(rng, samples)
        level, share = HEARD
        if loudness[:first_frame].max() <= CLOSED and (loudness > level).mean() > share:
            return loudness


def _syllables(rng: np.random.Generator, samples: int) -> Array:
    loudness = np.zeros(samples)
    clock = np.arange(samples) / SAMPLE_RATE
    time, end = -WARM_UP, samples / SAMPLE_RATE
    while time < end:
        time += rng.exponential(GAP)
        length, level = rng.uniform(*SYLLABLE), rng.uniform(*LEVEL)
        first, last = np.searchsorted(clock, (time, time + length))
        loudness[first:last] = level * np.sin(np.pi * (clock[first:last] - time) / length) ** 2
        time += length
    return loudness


def sing(voice: Voice, loudness: Array, rng: np.random.Generator) -> Array:
    """Mono samples at SAMPLE_RATE: a harmonic sound of unit peak times `loudness` times PEAK. The fundamental and the
    phases of the harmonics differ a little from clip to clip."""
    sound = hum(voice, len(loudness), rng)
    samples: Array = PEAK * loudness * sound / np.abs(sound).max()
    return samples


def hum(voice: Voice, samples: int, rng: np.random.Generator, shape: Callable[[Array], Array] | None = None) -> Array:
    """A steady sound [samples] of any level; `shape` gives the gains by which its partials are multiplied, from their
    frequencies in Hz."""
    clock = np.arange(samples) / SAMPLE_RATE
    pitch = voice.pitch * (1 + 0.003 * rng.standard_normal())
    gains = partials(voice, pitch)
    if shape is not None:
        gains = gains * shape(pitch * np.arange(1.0, len(gains) + 1))
    parts = gains * np.exp(1j * rng.uniform(0, 2 * np.pi, len(gains)))
    turn = np.exp(2j * np.pi * pitch * clock)
    sound = np.zeros(len(clock), dtype=np.complex128)
    for part in parts[::-1]:  # Horner's scheme: harmonic h is the h-th power of the fundamental's phasor
        sound = (sound + part) * turn
    steady: Array = sound.imag
    return steady


def partials(voice: Voice, pitch: float) -> Array:
    """Amplitudes of all harmonics of `pitch` in Hz up to CEILING."""
    harmonics = np.arange(1, int(CEILING / pitch) + 1)
    gains = harmonics.astype(np.float64) ** -voice.tilt
    bumps = sum(np.exp(-0.5 * ((pitch * harmonics - f) / (120 + 0.08 * f)) ** 2) for f in voice.formants)
    gains = gains * (0.15 + bumps)
    if voice.hollow:
        gains = gains * np.where(harmonics % 2 == 0, 0.1, 1.0)
    amplitudes: Array = gains
    return amplitudes
