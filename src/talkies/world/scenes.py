"""The scenes of the synthetic world: talking faces, a lamp that flashes with effects, and light that follows the music.

What is told by what: the mouths follow the speech (that of a second person: `speech2`), the lamp the effects, and the
colour of the light the note of the music; people, moods and the wall are named by the caption alone. The tracks are
drawn independently of each other and of all that the caption names, and each is heard in a band of its own
(`bands.py`), of which the speakers' timbres tell nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from talkies.world.bands import BANDS
from talkies.world.config import SyntheticSource
from talkies.world.faces import BROWS, HAIRS, RGB, SKINS, UNITS, WALLS, Box, Face, animate, axes, paint_face, shrink
from talkies.world.speakers import pick
from talkies.world.voices import CLOSED, SAMPLE_RATE, WARM_UP, Array, Voice, draw_loudness, hum

# Each lies in blocks of 8 x 8 pixels of a 32-pixel frame in which no mouth is, and the lamp in one.
LAMP: Box = (1.0, 1.0, 7.0, 7.0)
LIGHT: Box = (0.0, 28.0, 32.0, 32.0)
"""Where lamp and light are painted: left, top, right, bottom in 32nds of a person's square."""
DARK: RGB = (0.12, 0.10, 0.12)
LIT: RGB = (1.0, 0.97, 0.80)
LIGHTS: dict[str, RGB] = {
    "red": (0.88, 0.12, 0.12),
    "yellow": (0.95, 0.85, 0.15),
    "green": (0.10, 0.62, 0.22),
    "blue": (0.15, 0.25, 0.88),
    "white": (0.95, 0.95, 0.95),
}
NOTES: dict[str, float] = {"red": 25.0, "yellow": 35.0, "green": 46.0, "blue": 57.0, "white": 68.0}
"""The frequency in Hz of the note that calls for a colour of LIGHTS."""
OUT_OF_TUNE = 0.015
"""By which share, at most, a clip's note differs from that."""

LEVELS = {"speech": 0.16, "speech2": 0.18, "effects": 0.10, "music": 0.06}
"""Largest amplitude by track. Together they stay below what AAC keeps best (media/write.py: FAST_PEAK)."""
PITCH, TILT = (115.0, 240.0), (0.4, 1.2)
FORMANTS = {"speech": (500.0, 1200.0, 1700.0), "speech2": (2300.0, 2800.0, 3300.0)}
EDGE = 20.0
"""Hz between a band's edges and the partials of a voice in it: room for its changes of loudness."""
EFFECT = (4600.0, 6600.0)
"""Tones of effects in Hz."""
QUIET = 0.25
"""Share of the clips without effects."""
GAP, BURST, LOUDNESS, ATTACK = 0.6, (0.25, 0.5), (0.6, 1.0), 0.3
"""Seconds between two effects, on average, and of one; the loudness of one, and the share of it in which it rises."""
SILENT, FADE = 0.1, 0.25
"""Seconds at both ends in which there is no music, and in which it comes and goes."""
HEARD = (0.3, 0.05)
"""Where there are effects, their envelope is above the first number for more than this share of the clip."""

_SCENE = re.compile(r"Scene Description: a (\w+) wall\.")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A scene before it becomes media: `frames` [F, S, people * S, 3] in [0, 1], its `tracks` [samples] at SAMPLE_RATE,
    its caption, and the true `openings` [F] of the first mouth."""

    frames: Array
    tracks: dict[str, Array]
    caption: str
    openings: Array


def draw_stage(rng: np.random.Generator, source: SyntheticSource) -> Stage:
    """A clip of the domain `scenes`. Every part has a generator of its own, so that none depends on another."""
    look, speech, effects, music, second_look, speech2 = rng.spawn(6)
    edges = np.round(np.arange(source.frames + 1) * (SAMPLE_RATE / source.fps)).astype(int)
    wall = pick(look, tuple(WALLS))
    people = [_draw_person(person, wall, source.size) for person in (look, second_look)[: source.people]]
    voices = {"speech": speech, "speech2": speech2} if source.people == 2 else {"speech": speech}
    said = {track: draw_loudness(drawn, edges[-1], edges[1]) for track, drawn in voices.items()}
    tracks = {track: _speak(track, said[track], drawn) for track, drawn in voices.items()}
    struck = draw_bursts(effects, edges[-1], edges[1])
    colour = pick(music, tuple(LIGHTS))
    tracks |= {"effects": _ring(struck, effects), "music": _play(colour, edges[-1], music)}
    openings = {track: np.array([loudness[a:b].mean() for a, b in pairwise(edges)]) for track, loudness in said.items()}
    flashes = np.array([np.sqrt(np.square(struck[a:b]).mean()) for a, b in pairwise(edges)])
    films = [
        animate(lit(face, LIGHTS[colour]), openings[track])
        for (_, face), track in zip(people, tracks, strict=False)  # the voices come first
    ]
    films[0] = with_lamp(films[0], flashes)
    return Stage(
        frames=np.concatenate(films, axis=2),
        tracks=tracks,
        caption=caption([name for name, _ in people], wall),
        openings=openings["speech"],
    )


def caption(people: Sequence[str], wall: str) -> str:
    """One line in the form of the captions of MTV (arXiv 2506.08003)."""
    persons = " ".join(f"Person{number}: {person}." for number, person in enumerate(people, 1))
    return f"{len(people)} person conversation. Persons: {persons} Scene Description: a {wall} wall."


def seen(source: SyntheticSource) -> dict[str, int | bool]:
    """Who is seen in each clip of a source, as `prepare` reads it beside a media file."""
    return {"people": source.people, "talking_head": source.people == 1}


def named_wall(text: str) -> str | None:
    """Which of WALLS a caption names; None if it is not one of `caption`."""
    found = _SCENE.search(text)
    return found[1] if found is not None and found[1] in WALLS else None


def draw_bursts(rng: np.random.Generator, samples: int, first_frame: int) -> Array:
    """Envelope [samples] in [0, 1] of the effects of a clip: a stationary renewal process, as the voices' syllables
    are, silent over the first `first_frame` samples. All zero in a share QUIET of the clips, else HEARD."""
    if rng.uniform() < QUIET:
        return np.zeros(samples)
    level, share = HEARD
    while True:
        envelope = _bursts(rng, samples)
        if envelope[:first_frame].max() <= CLOSED and (envelope > level).mean() > share:
            return envelope


def _bursts(rng: np.random.Generator, samples: int) -> Array:
    envelope = np.zeros(samples)
    clock = np.arange(samples) / SAMPLE_RATE
    time = -WARM_UP
    while time < samples / SAMPLE_RATE:
        time += rng.exponential(GAP)
        length, level = rng.uniform(*BURST), rng.uniform(*LOUDNESS)
        first, last = np.searchsorted(clock, (time, time + length))
        phase = (clock[first:last] - time) / length
        rising, falling = phase / ATTACK, (1 - phase) / (1 - ATTACK)
        envelope[first:last] = level * np.sin(np.pi / 2 * np.minimum(rising, falling)) ** 2
        time += length
    return envelope


def _draw_person(rng: np.random.Generator, wall: str, size: int) -> tuple[str, Face]:
    """What a caption says of a person, and the face."""
    who, mood, skin = pick(rng, tuple(HAIRS)), pick(rng, tuple(BROWS)), int(rng.integers(len(SKINS)))
    article = "an" if mood[0] in "aeiou" else "a"
    return f"{article} {mood} {who}", paint_face(who, wall, mood, skin, size)


def _speak(track: str, loudness: Array, rng: np.random.Generator) -> Array:
    """A voice of which only the partials in the track's band are heard."""
    low, high = BANDS[track]
    pitch = float(np.exp(rng.uniform(*np.log(PITCH))))
    voice = Voice(pitch=pitch, tilt=float(rng.uniform(*TILT)), formants=FORMANTS[track])
    sound = hum(voice, len(loudness), rng, partial(_inside, (low + EDGE, high - EDGE)))
    samples: Array = LEVELS[track] * loudness * sound / np.abs(sound).max()
    return samples


def _inside(bounds: tuple[float, float], frequencies: Array) -> Array:
    low, high = bounds
    return ((frequencies >= low) & (frequencies <= high)).astype(np.float64)


def _ring(envelope: Array, rng: np.random.Generator) -> Array:
    return LEVELS["effects"] * envelope * _tone(rng.uniform(*EFFECT), len(envelope), rng)


def _play(colour: str, samples: int, rng: np.random.Generator) -> Array:
    """The note that calls for a colour, as loud throughout, but for both ends, where it is SILENT and then FADEs: a
    tone that is cut clicks in every band, and the click would tell which note it was."""
    note = NOTES[colour] * (1 + rng.uniform(-OUT_OF_TUNE, OUT_OF_TUNE))
    ends = np.minimum(np.arange(samples), np.arange(samples)[::-1]) / SAMPLE_RATE
    fading = np.sin(np.pi / 2 * np.clip((ends - SILENT) / FADE, 0, 1)) ** 2
    return LEVELS["music"] * rng.uniform(0.7, 1.0) * fading * _tone(note, samples, rng)


def _tone(frequency: float, samples: int, rng: np.random.Generator) -> Array:
    turns = frequency * np.arange(samples) / SAMPLE_RATE + rng.uniform()
    tone: Array = np.sin(2 * np.pi * turns)
    return tone


def lit(face: Face, light: RGB) -> Face:
    """The face above a strip of light."""
    cover = _cover(LIGHT, face.picture.shape[0])
    picture = face.picture * (1 - cover) + np.array(light) * cover
    return Face(picture=picture, mouth=face.mouth, squareness=face.squareness)


def with_lamp(film: Array, flashes: Array) -> Array:
    """Frames [F, S, S, 3] with a lamp as bright as `flashes` [F] in [0, 1]."""
    cover = _cover(LAMP, film.shape[1])
    colours = np.array(DARK) + flashes[:, None] * (np.array(LIT) - np.array(DARK))
    frames: Array = film * (1 - cover) + colours[:, None, None] * cover
    return frames


def _cover(box: Box, size: int) -> Array:
    """Share [size, size, 1] of each pixel that lies in a box."""
    x, y = axes(size)
    left, top, right, bottom = box
    assert right <= UNITS
    assert bottom <= UNITS
    inside = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    return shrink(inside.astype(np.float64), size)[..., None]
