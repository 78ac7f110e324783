"""The speakers of the synthetic world, drawn from continuous ranges, and the settings in which they are met.

What is told by what: the kind of face follows the pitch of the voice, and the wall the noise behind it; the shirt is
named by the caption alone; the look (skin, hair, glasses) is shown by nothing but a picture of the speaker.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from talkies.world.config import SyntheticSource
from talkies.world.faces import RGB, Face
from talkies.world.noises import NOISES
from talkies.world.portraits import KINDS, SHIRTS, WALLS, Look, paint_speaker
from talkies.world.voices import Array, Voice

PITCHES: dict[str, tuple[float, float]] = {"bearded": (90.0, 130.0), "shaven": (150.0, 205.0), "hooded": (235.0, 330.0)}
"""The range of the pitch in Hz by kind of face."""
TILT = (0.4, 1.2)
FORMANTS = (500.0, 1500.0, 2500.0)
TRACT, SPREAD = (0.85, 1.2), 0.1
"""Range of the factor of all formants, and by how much each of them may differ from it."""
SKIN: tuple[RGB, RGB] = ((0.98, 0.84, 0.72), (0.62, 0.44, 0.32))
SATURATION, VALUE = (0.35, 0.95), (0.25, 0.95)
SQUARENESS = (2.4, 4.0)

GOLDEN = 1.1127756842787055
"""The root above 1 of x^7 = x + 1."""
STEPS = GOLDEN ** -np.arange(1.0, 7.0)
"""From each speaker to the next, in shares of the ranges of hair, glasses, skin, pitch, tract and tilt. The multiples
of this vector keep apart modulo 1 (Roberts 2018, The unreasonable effectiveness of quasirandom sequences)."""
APART = 0.16
"""Any two of a source's first 1000 speakers differ in one of these six by this share of its range, or more."""
_FIRST, _SPEAKER = (0, 2), 1
"""Ends of the keys of a source's first speaker, and of each one's other draws; the keys of clips are shorter."""


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """A voice, the kind of face that its pitch implies, and a look of its own."""

    voice: Voice
    kind: str
    look: Look


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where a speaker is met in one shot: a noise, which determines the wall, a shirt, and how far the brows are up."""

    noise: str
    shirt: str
    brow: float


def traits(key: Sequence[int], index: int) -> Array:
    """[6] in [0, 1): where speaker `index` of the source with this key lies in the ranges of STEPS."""
    first = np.random.default_rng([*key, *_FIRST]).uniform(size=len(STEPS))
    place: Array = (first + index * STEPS) % 1
    return place


def draw_speaker(key: Sequence[int], index: int) -> Speaker:
    """Speaker `index` of a source: a pure function of the source's key and the index.

    Kinds are equally frequent, and pitches uniform in their logarithm within a kind. Two speakers differ by APART.
    """
    hair, glasses, skin, pitch, tract, tilt = (float(place) for place in traits(key, index))
    rng = np.random.default_rng([*key, index, _SPEAKER])
    number, within = divmod(pitch * len(KINDS), 1)
    kind = KINDS[int(number)]
    low, high = PITCHES[kind]
    formants = tuple(float(f * _within(TRACT, tract) * rng.uniform(1 - SPREAD, 1 + SPREAD)) for f in FORMANTS)
    voice = Voice(pitch=low * (high / low) ** within, tilt=_within(TILT, tilt), formants=formants)
    light, dark = (np.array(tone) for tone in SKIN)
    look = Look(
        skin=_rgb(light + skin * (dark - light)),
        hair=_colour(hair, rng),
        glasses=_colour(glasses, rng),
        squareness=float(rng.uniform(*SQUARENESS)),
    )
    return Speaker(voice=voice, kind=kind, look=look)


def _within(limits: tuple[float, float], share: float) -> float:
    low, high = limits
    return low + share * (high - low)


def _colour(hue: float, rng: np.random.Generator) -> RGB:
    """A colour of this hue in [0, 1)."""
    saturation, value = rng.uniform(*SATURATION), rng.uniform(*VALUE)
    wave = np.clip(np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return _rgb(value * (1 - saturation * (1 - wave)))


def _rgb(values: Array) -> RGB:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    """One of the choices, each as likely."""
    return choices[int(rng.integers(len(choices)))]


def draw_settings(rng: np.random.Generator, count: int) -> tuple[Setting, ...]:
    """Independent settings, one per shot."""
    noises, shirts = tuple(NOISES), tuple(SHIRTS)
    return tuple(
        Setting(
            noise=pick(rng, noises),
            shirt=pick(rng, shirts),
            brow=float(rng.uniform()),
        )
        for _ in range(count)
    )


def paint(speaker: Speaker, setting: Setting, size: int) -> Face:
    """The speaker in a setting."""
    wall, shirt = WALLS[setting.noise], SHIRTS[setting.shirt]
    return paint_speaker(speaker.look, kind=speaker.kind, wall=wall, shirt=shirt, brow=setting.brow, size=size)


def clip_name(source: SyntheticSource, index: int) -> str:
    """The path of clip `index` without its suffix. A speaker's clips have a folder of their own, which is held out as
    one."""
    if not source.has_speakers:
        return f"{source.domain}-{index:05d}"
    return f"speaker-{index // source.clips_each:05d}/clip-{index:05d}"


def clip_group(name: str) -> str:
    """What is held out as one with the clip of this path, with or without its suffix: its speaker's folder, or, in the
    other domains, itself."""
    folder, _, clip = name.rpartition("/")
    return folder or clip
