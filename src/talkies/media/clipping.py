"""Whether sound was clipped: before a lossy codec, too, and turned up or down since.

Clipping heaps amplitudes up at one level. AAC spreads the heap (flat tops come back 5 % above and below), so that it is
looked for as a crowd: a band of amplitudes with many more samples than the equally wide band just below. Of sound that
rises and falls a band holds about as many as its neighbour; of a pure tone, the most that a smooth periodic sound
reaches, the top band 1 + sqrt(2) = 2.41 times as many.

A tone that repeats after a whole number of samples has few amplitudes and crowds at each, whatever its level and with
some noise, too. It is told by its neighbourhoods, which recur (after so few samples voices differ by 12 % of their
power and more, tones in noise by 4 %), and judged between its samples. Of 5,168 such tones (periods of 3 to 1,000
samples at 16, 44.1 and 48 kHz, in noise of up to 0.1, for 0.1 s or all the time) none is taken for clipped.

Measured at full scale, 0.9, 0.4, 0.1 and 0.02 of it, PCM and AAC (16 kHz at 96 kbps, 48 kHz at 192): unclipped voices
of the synthetic world (9), the real clip and chords at most 1.3 times, tones 2.33; the same clipped by 6 dB at least
2.9, 6.3, 9.5 and 10.7, and all of them found, at 48 kHz and 96 kbps 9 of 10, at 64 kbps 2. Clipped by 3 dB, which cuts
only the highest peaks of voices, 4 in 5 are found. Noise is found from 20 dB on: less hardly cuts into it.

Flat-topped synthetic tones of one level (a square wave, or one whose third harmonic of 5 % and more flattens its tops)
cannot be told from clipped ones, nor tones of less than 6
samples a period, clipped, from unclipped ones: their tops last for one sample or two.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

CROWDED = 2.5
BINS = 200
"""Bins of amplitude from 0 to the level of the loud samples; as many again lie above it."""
LOUD = 0.005
"""Share of the samples that lies above that level: the overshoots of a codec do not move it."""
WIDTHS = (8, 16, 32)
"""Bins of a band: 4 % of the level finds light clipping, 16 % what a low bit rate has spread."""
SHARE, FEWEST = 0.004, 100
"""A crowd is this share of all samples, and this many. Sound that touches full scale in a few peaks has none."""
QUIET, COARSE = 0.01, 0.25
"""Sound below this level is not judged: 16-bit samples have too few steps there, and 8-bit ones."""
FILLED = 0.9
SHORT, LONG = 64, 400
"""Periods in samples that are looked for: of more, tones have amplitudes enough."""
ROUGHLY, EXACTLY = 0.08, 0.001
"""Share of the power that may differ after a period: a short one, and a long one, after which voices recur, too."""
NARROW, NEAR, SEEN = 0.04, 2, 300
"""How near the level of a crowd its samples lie, how many neighbours must recur, how many samples are looked at."""
SURPASSED, RUNG = 1.4, 1.2
"""How far others rise above a crowd within SHORT samples, where it is none of clipping: bright tones (sawtooths) 1.42
times and more; tones, chords and voices, clipped by 3 to 20 dB and coded with 32 to 192 kbps, at most 1.39. What is
above is looked at again."""
MORE, TAPS, PHASES, KAISER = 4, 8, 512, 6.0
GOLDEN = (5**0.5 - 1) / 2

Values = NDArray[np.float32]
Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """The densest band of amplitudes: `ratio` times as many samples as in the band below it, around `level`."""

    ratio: float
    level: float


def find_clipping(samples: Tensor) -> Crowd | None:
    """The level at which samples [S] were clipped and how much they crowd there; None where they were not.

    Give the samples at the rate at which they were recorded: resampling rounds flat tops off.
    """
    values = samples.numpy()
    if len(values) < FEWEST:
        return None
    counts, step = _histogram(values)
    if step * BINS < (COARSE if _of_eight_bits(values) else QUIET):
        return None
    found = _densest(counts, len(values))
    if found.ratio <= CROWDED:
        return None
    # Sound that repeats after a few samples, or is coarsely quantised, has few amplitudes and crowds at each of them.
    # It does not between the samples; there, clipping that lasts for one or two samples cannot be seen either.
    if not _filled(counts) or _repeats(values, found.level * step):
        counts, step = _histogram(_between(values))
        found = _densest(counts, MORE * len(values))
    if found.ratio > CROWDED and _surpassed(values, found.level * step):
        found = _densest(counts, int(counts.sum()), above=RUNG * found.level)
    level = found.level * step
    return Crowd(ratio=found.ratio, level=level) if found.ratio > CROWDED and not _surpassed(values, level) else None


def _histogram(values: Values) -> tuple[Counts, float]:
    """How many amplitudes lie in each of 2 * BINS bins, and the width of a bin; those beyond are left out."""
    heights = np.abs(values)
    rank = len(heights) - max(1, int(LOUD * len(heights)))
    step = float(np.partition(heights, rank)[rank]) / BINS
    if step == 0:
        return np.zeros(2 * BINS, dtype=np.int64), 0.0
    places = np.minimum(heights / step, 2 * BINS).astype(np.int64)
    return np.bincount(places, minlength=2 * BINS + 1)[: 2 * BINS], step


def _densest(counts: Counts, samples: int, *, above: float = BINS / 2) -> Crowd:
    """The densest band from half the level (or `above`) up, its place in bins."""
    total = np.concatenate(([0], np.cumsum(counts)))
    best = Crowd(ratio=0, level=0)
    for width in WIDTHS:
        low = np.arange(int(above), 2 * BINS - width)
        here, below = total[low + width] - total[low], total[low] - total[low - width]
        surely = here - np.sqrt(here)  # one standard deviation may be chance
        ratios = np.where(here >= max(FEWEST, SHARE * samples), surely / np.maximum(below, 1), 0)
        top = int(ratios.argmax())
        if ratios[top] > best.ratio:
            best = Crowd(ratio=float(ratios[top]), level=float(low[top] + width / 2))
    return best


def _filled(counts: Counts) -> bool:
    """Whether the loud half of the amplitudes occurs throughout. Measured: of clipped voices 98 % of the bins and more,
    of exact tones in AAC of 96 kbps at most 77 %, of mu-law 15 %."""
    loud = counts[BINS // 2 : BINS]
    return bool((loud > 0.1 * loud.mean()).mean() > FILLED)


def _of_eight_bits(values: Values) -> bool:
    """Whether all samples are multiples of 1 / 256: 8 bits, or the mean of two channels of these."""
    steps = values * 256
    return bool((np.abs(steps - np.round(steps)) < 1e-3).all())


def _repeats(values: Values, level: float) -> bool:
    """Whether the samples at a level recur with their neighbours after a fixed number of samples."""
    reach = min(LONG, len(values) // 4)
    crowd = np.flatnonzero(np.abs(np.abs(values) - level) < NARROW * level)
    crowd = crowd[(crowd >= NEAR) & (crowd < len(values) - reach - NEAR)]
    if len(crowd) == 0:
        return False
    chosen = crowd[np.linspace(0, len(crowd) - 1, min(SEEN, len(crowd))).astype(int)]
    around = sliding_window_view(values, 2 * NEAR + 1)
    here, periods = around[chosen - NEAR], np.arange(2, reach + 1)
    changes = np.array([np.square(around[chosen - NEAR + period] - here).mean() for period in periods])
    allowed = np.where(periods <= SHORT, ROUGHLY, EXACTLY) * 2 * np.square(here).mean()
    return bool((changes < allowed).any())


def _surpassed(values: Values, level: float) -> bool:
    """Whether the samples at a level lie near much higher ones, as nothing does that was clipped there: bright tones
    rest at levels on their way up."""
    crowd = np.flatnonzero(np.abs(np.abs(values) - level) < NARROW * level)
    if len(crowd) == 0:
        return False
    chosen = crowd[np.linspace(0, len(crowd) - 1, min(SEEN, len(crowd))).astype(int)]
    around = sliding_window_view(np.pad(np.abs(values), SHORT), 2 * SHORT + 1)[chosen]
    return bool(np.median(around.max(axis=1)) > SURPASSED * level)


def _between(values: Values) -> Values:
    """MORE values after every sample, at places that no period repeats, interpolated with a windowed sinc."""
    count = max(0, len(values) - TAPS + 1)
    shifts = np.arange(count) * GOLDEN % 1
    places = ((np.arange(MORE) + shifts[:, None]) / MORE * PHASES).astype(np.int64)
    made: Values = np.einsum("smt,st->sm", _kernels()[places], sliding_window_view(values, TAPS)).ravel()
    return made


@cache
def _kernels() -> Values:
    """[PHASES, TAPS]: what makes the value at a place between the two samples in the middle."""
    distance = np.arange(PHASES)[:, None] / PHASES - (np.arange(TAPS) - TAPS // 2 + 1)
    window = np.i0(KAISER * np.sqrt(np.maximum(0, 1 - (2 * distance / TAPS) ** 2)))
    kernels = np.sinc(distance) * window
    made: Values = (kernels / kernels.sum(axis=1, keepdims=True)).astype(np.float32)
    return made
