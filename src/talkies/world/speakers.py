"""The speakers of the synthetic world, drawn from continuous ranges, and the settings in which they are met.

What is told by what: the kind of face follows the pitch of the voice, and the wall the noise behind it; the shirt is
named by the caption alone; the look (skin, hair, glasses) is shown by nothing but a picture of the speaker.
"""

from dataclasses import dataclass

import numpy as np

from talkies.world.config import SyntheticSource
from talkies.world.faces import RGB, Face
from talkies.world.noises import NOISES
from talkies.world.portraits import KINDS, SHIRTS, WALLS, Look, paint_speaker
from talkies.world.voices import Voice

PITCHES: dict[str, tuple[float, float]] = {"bearded": (90.0, 130.0), "shaven": (150.0, 205.0), "hooded": (235.0, 330.0)}
"""The range of the pitch in Hz by kind of face."""
TILT = (0.4, 1.2)
FORMANTS = (500.0, 1500.0, 2500.0)
TRACT, SPREAD = (0.85, 1.2), 0.1
"""Range of the factor of all formants, and by how much each of them may differ from it."""
SKIN: tuple[RGB, RGB] = ((0.98, 0.84, 0.72), (0.62, 0.44, 0.32))
SATURATION, VALUE = (0.35, 0.95), (0.25, 0.95)
SQUARENESS = (2.4, 4.0)


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


def draw_speaker(rng: np.random.Generator) -> Speaker:
    """A speaker; kinds are equally frequent, and pitches uniform in their logarithm within a kind."""
    kind = KINDS[int(rng.integers(len(KINDS)))]
    low, high = PITCHES[kind]
    tract = rng.uniform(*TRACT)
    formants = tuple(float(f * tract * rng.uniform(1 - SPREAD, 1 + SPREAD)) for f in FORMANTS)
    pitch = float(low * (high / low) ** rng.uniform())
    voice = Voice(pitch=pitch, tilt=float(rng.uniform(*TILT)), formants=formants)
    return Speaker(voice=voice, kind=kind, look=_draw_look(rng))


def _draw_look(rng: np.random.Generator) -> Look:
    shade = rng.uniform()
    light, dark = (np.array(tone) for tone in SKIN)
    return Look(
        skin=_rgb(light + shade * (dark - light)),
        hair=_draw_colour(rng),
        glasses=_draw_colour(rng),
        squareness=float(rng.uniform(*SQUARENESS)),
    )


def _draw_colour(rng: np.random.Generator) -> RGB:
    """A colour of any hue."""
    hue, saturation, value = rng.uniform(), rng.uniform(*SATURATION), rng.uniform(*VALUE)
    wave = np.clip(np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return _rgb(value * (1 - saturation * (1 - wave)))


def _rgb(values: np.ndarray) -> RGB:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def draw_settings(rng: np.random.Generator, count: int) -> tuple[Setting, ...]:
    """Independent settings, one per shot."""
    noises, shirts = tuple(NOISES), tuple(SHIRTS)
    return tuple(
        Setting(
            noise=noises[int(rng.integers(len(noises)))],
            shirt=shirts[int(rng.integers(len(shirts)))],
            brow=float(rng.uniform()),
        )
        for _ in range(count)
    )


def paint(speaker: Speaker, setting: Setting, size: int) -> Face:
    """The speaker in a setting."""
    wall, shirt = WALLS[setting.noise], SHIRTS[setting.shirt]
    return paint_speaker(speaker.look, kind=speaker.kind, wall=wall, shirt=shirt, brow=setting.brow, size=size)


def clip_name(source: SyntheticSource, index: int) -> str:
    """The path of clip `index` without its suffix. That of a speaker's clip names the speaker's folder, by which a set
    is split."""
    if source.domain != "speakers":
        return f"{source.domain}-{index:05d}"
    return f"speaker-{index // source.clips_each:05d}/clip-{index:05d}"
