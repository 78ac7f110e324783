"""Scripts of the synthetic world: syllables that any voice can say, when they are said, and captions that name them.

A syllable emphasises a region of the spectrum, the same one for every voice; who speaks stays audible in all else
(pitch, tilt, formants). Lengths, gaps, levels and the pace vary from clip to clip.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from talkies.world.voices import SAMPLE_RATE, Array, Voice, hum

SYLLABLES: dict[str, float] = {"lu": 350.0, "ba": 850.0, "so": 1500.0, "ke": 2350.0, "mi": 3400.0}
"""The frequency in Hz that a syllable emphasises."""
EMPHASIS, WIDTH = 20.0, 0.3
"""The emphasis is a factor of about EMPHASIS, and falls as a Gaussian of this deviation in octaves."""
FEWEST, MOST = 2, 5
"""Syllables of a script."""
LEVEL = 0.1
"""RMS of the loudest moment of the loudest syllable."""
LEVELS = (0.65, 1.0)
LEAD, LENGTH, GAP, PACE = (0.02, 0.12), (0.15, 0.23), (0.06, 0.12), (0.9, 1.1)
"""Seconds of silence after the first frame, of a syllable, and between two of them; the last two are divided by the
clip's pace."""
TAIL = 0.15
"""Seconds of silence after the last syllable, or more."""

SETTINGS = ("clean", "noisy", "echoing")
_CAPTION = re.compile(r"<describe> An? (\w+) recording\. <script> \[S1\] (.+)")


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is said in one shot, and the setting in which it is heard."""

    script: tuple[str, ...]
    setting: str


class Span(NamedTuple):
    """When a syllable is said, in seconds, and how loudly."""

    start: float
    length: float
    level: float


def seconds(syllables: int, first_frame: float = 0.08) -> float:
    """The expected length in seconds of a clip in which so many syllables are said, with the silence around them."""
    return first_frame + _middle(LEAD) + syllables * (_middle(LENGTH) + _middle(GAP)) - _middle(GAP) + TAIL


def _middle(limits: tuple[float, float]) -> float:
    return sum(limits) / 2


def most_syllables(window: float, first_frame: float) -> int:
    """The length of the longest script that is said in `window` seconds."""
    return max((n for n in range(MOST + 1) if seconds(n, first_frame) <= window), default=0)


def caption(line: Line) -> str:
    """One line that names the setting and the script; `parse` inverts it."""
    article = "An" if line.setting[0] in "aeiou" else "A"
    return f"<describe> {article} {line.setting} recording. <script> [S1] {' '.join(line.script)}"


def parse(text: str) -> Line | None:
    """What a caption names; None if it is not one of `caption`."""
    found = _CAPTION.fullmatch(text.strip())
    if found is None or found[1] not in SETTINGS:
        return None
    return Line(script=tuple(found[2].split()), setting=found[1])


def draw_line(rng: np.random.Generator, most: int) -> Line:
    """A script of FEWEST to `most` syllables, and a setting: all of them equally likely."""
    count = int(rng.integers(FEWEST, most + 1))
    kinds = tuple(SYLLABLES)
    script = tuple(kinds[int(rng.integers(len(kinds)))] for _ in range(count))
    return Line(script=script, setting=SETTINGS[int(rng.integers(len(SETTINGS)))])


def draw_spans(rng: np.random.Generator, syllables: int, window: float, first_frame: float) -> list[Span]:
    """When each syllable is said; draws that do not fit into the window are repeated with the same generator."""
    while True:
        pace = rng.uniform(*PACE)
        time = first_frame + rng.uniform(*LEAD)
        spans = []
        for _ in range(syllables):
            spans.append(Span(time, rng.uniform(*LENGTH) / pace, rng.uniform(*LEVELS)))
            time += spans[-1].length + rng.uniform(*GAP) / pace
        if spans[-1].start + spans[-1].length + TAIL <= window:
            return spans


def emphasis(syllable: str, frequencies: Array) -> Array:
    """Gains of partials at these frequencies in Hz, 1 far from the syllable's region."""
    octaves = np.log2(frequencies / SYLLABLES[syllable])
    gains: Array = 1 + EMPHASIS * np.exp(-0.5 * (octaves / WIDTH) ** 2)
    return gains


def say(
    voice: Voice, script: Sequence[str], spans: Sequence[Span], samples: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """The voice alone [samples] at SAMPLE_RATE, and its loudness [samples] in [0, 1]."""
    sound, loudness = np.zeros(samples), np.zeros(samples)
    for syllable, span in zip(script, spans, strict=True):
        first, last = (round(time * SAMPLE_RATE) for time in (span.start, span.start + span.length))
        phase = (np.arange(last - first) + 0.5) / (last - first)
        loudness[first:last] = span.level * np.sin(np.pi * phase)
        steady = hum(voice, last - first, rng, partial(emphasis, syllable))
        sound[first:last] = LEVEL * loudness[first:last] * steady / np.sqrt(np.square(steady).mean())
    return sound, loudness
