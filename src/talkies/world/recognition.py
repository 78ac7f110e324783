"""The exact measures of what is heard of a script: its syllables, its setting, and the timbre of who says it.

They are closed-form and measured on samples; none depends on the level of the sound.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from talkies.world.hearing import SILENCE
from talkies.world.scripts import SETTINGS, SYLLABLES, emphasis
from talkies.world.voices import Voice, partials

FRAME, SMOOTHING = 0.01, 5
"""Seconds of a frame of the loudness, which is then averaged over so many frames."""
VOICED = (150.0, 4000.0)
"""Where the loudness is measured, in Hz."""
HEARD, VALLEY, CORE = 0.25, 0.75, 0.7
"""A syllable reaches this share of the largest loudness; between two of them the loudness falls below this share of
the softer one's; and its core is where it is as loud as this share of its own largest loudness."""
NEUTRAL = Voice(pitch=170.0, tilt=0.8, formants=(500.0, 1500.0, 2500.0))
"""The middle of all voices."""
HISS_BAND, HISS = (4500.0, 7500.0), 2e-3
"""A sound is noisy if it has this share of its power, or more, in this band in Hz, above every voice."""
AFTER, ECHO = (0.06, 0.14), 0.005
"""A sound echoes if its power in these seconds after the core of the last syllable is this share of the core's, or
more."""
BANDS = np.geomspace(300.0, 3400.0, 12)
"""Centres in Hz of the overlapping bands in which spectra are compared."""


def recognise(samples: Tensor, sample_rate: int) -> tuple[str, ...]:
    """The syllables, in order, that are heard in mono samples [S]; none in silence."""
    kinds = tuple(SYLLABLES)
    return tuple(kinds[_nearest(samples[a:b], sample_rate)[0]] for a, b in cores(samples, sample_rate))


def accuracy(heard: Sequence[str], script: Sequence[str]) -> float:
    """1 - (edits that turn what was heard into the script) / (length of the script), at least 0."""
    row = [*range(len(script) + 1)]
    for i, one in enumerate(heard, 1):
        before, row = row, [i]
        for j, other in enumerate(script):
            row.append(min(before[j + 1] + 1, row[j] + 1, before[j] + (one != other)))
    share: float = 1 - row[-1] / len(script)
    return max(0.0, share)


def setting_kind(samples: Tensor, sample_rate: int) -> str:
    """Which of SETTINGS mono samples [S] are heard in."""
    clean, noisy, echoing = SETTINGS
    power, frequency = _power(samples, sample_rate)
    low, high = HISS_BAND
    hiss = power[(frequency >= low) & (frequency <= high)].sum() / power.sum().clamp(min=SILENCE)
    if float(hiss) >= HISS:
        return noisy
    return echoing if tail(samples, sample_rate) >= ECHO else clean


def tail(samples: Tensor, sample_rate: int) -> float:
    """Power of mono samples [S] in the seconds AFTER the last syllable's core, as a share of the core's; 0 in silence,
    and where the sound ends before."""
    found = cores(samples, sample_rate)
    if not found:
        return 0.0
    first, last = found[-1]
    start, end = (last + round(gap * sample_rate) for gap in AFTER)
    after = samples[start:end].double()
    return float(after.square().mean() / samples[first:last].double().square().mean()) if len(after) else 0.0


def timbre(samples: Tensor, sample_rate: int) -> Tensor:
    """[12] fp64: by how much the logarithmic spectrum of mono samples [S] in BANDS differs from that of the neutral
    voice saying the same, without its mean, averaged over the syllables. Euclidean distances say how much two timbres
    differ."""
    rows = [_nearest(samples[a:b], sample_rate)[1] for a, b in cores(samples, sample_rate)]
    return torch.stack(rows).mean(0) if rows else torch.zeros(len(BANDS), dtype=torch.float64)


def nearest(timbres: Sequence[Tensor], references: Sequence[Tensor]) -> list[int]:
    """For each of the timbres [12] the index of the nearest reference [12]."""
    distances = torch.cdist(torch.stack([*timbres]), torch.stack([*references]))
    return [int(index) for index in distances.argmin(1)]


def cores(samples: Tensor, sample_rate: int) -> list[tuple[int, int]]:
    """The first and last sample of the core of each syllable in mono samples [S]."""
    loudness = _loudness(samples, sample_rate)
    found: list[tuple[int, int]] = []
    if not len(loudness) or float(loudness.max()) ** 2 <= SILENCE:
        return found
    step = round(FRAME * sample_rate)
    for peak in _peaks((loudness / loudness.max()).tolist()):
        quiet = (loudness < CORE * loudness[peak]).nonzero()[:, 0]
        first = int(quiet[quiet < peak].max()) + 1 if bool((quiet < peak).any()) else 0
        last = int(quiet[quiet > peak].min()) if bool((quiet > peak).any()) else len(loudness)
        found.append((first * step, last * step))
    return found


def _peaks(loudness: list[float]) -> list[int]:
    """Frames of the peaks above HEARD between which the loudness falls below VALLEY of the smaller one."""
    peaks: list[int] = []
    best, lowest = 0, 1.0  # the highest frame since the last valley, and the lowest one since the last peak
    rising = True
    for frame, level in enumerate(loudness):
        if rising:
            if level > loudness[best]:
                best = frame
            elif level < VALLEY * loudness[best]:
                if loudness[best] >= HEARD:
                    peaks.append(best)
                    rising, lowest = False, level
                else:
                    best = frame
        else:
            lowest = min(lowest, level)
            if level * VALLEY > lowest:
                rising, best = True, frame
    if rising and loudness[best] >= HEARD:
        peaks.append(best)
    return peaks


def _loudness(samples: Tensor, sample_rate: int) -> Tensor:
    """RMS [S // frame] of each frame in VOICED, averaged over its neighbours."""
    spectrum = torch.fft.rfft(samples.double())
    frequency = torch.fft.rfftfreq(len(samples), 1 / sample_rate, dtype=torch.float64)
    low, high = VOICED
    spectrum[(frequency < low) | (frequency > high)] = 0
    step = round(FRAME * sample_rate)
    power: Tensor = torch.fft.irfft(spectrum, len(samples)).square()
    frames = power[: len(power) // step * step].view(1, -1, step).mean(-1)
    if not frames.numel():
        return power[:0]
    window = torch.nn.functional.pad(frames, (SMOOTHING // 2, SMOOTHING // 2)).unfold(-1, SMOOTHING, 1)
    loudness: Tensor = window.mean(-1)[0].sqrt()
    return loudness


def _power(samples: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Power spectrum of windowed samples [S], and its frequencies in Hz."""
    window = torch.hann_window(len(samples), dtype=torch.float64)
    power = torch.fft.rfft(samples.double() * window).abs().square()
    return power, torch.fft.rfftfreq(len(samples), 1 / sample_rate, dtype=torch.float64)


def _nearest(samples: Tensor, sample_rate: int) -> tuple[int, Tensor]:
    """Index into SYLLABLES of the one that the neutral voice says most similarly, and the difference [12] from that."""
    differences = _levels(*_power(samples, sample_rate)) - _templates()
    differences = differences - differences.mean(1, keepdim=True)
    best = int(differences.square().sum(1).argmin())
    return best, differences[best]


def _levels(power: Tensor, frequency: Tensor) -> Tensor:
    """Logarithm [12] of the power in BANDS."""
    centres = torch.from_numpy(BANDS)[:, None]
    weights = torch.exp(-0.5 * ((frequency - centres) / (100 + 0.1 * centres)).square())
    return (weights @ power).clamp(min=SILENCE).log()


@cache
def _templates() -> Tensor:
    """The levels [5, 12] of each syllable in the neutral voice."""
    gains = partials(NEUTRAL, NEUTRAL.pitch)
    frequency = NEUTRAL.pitch * np.arange(1.0, len(gains) + 1)
    said = [np.square(gains * emphasis(kind, frequency)) for kind in SYLLABLES]
    return torch.stack([_levels(torch.from_numpy(power), torch.from_numpy(frequency)) for power in said])
