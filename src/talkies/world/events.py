"""The exact measures of the world's scenes: mouths against speech, a lamp against effects, light against music.

They are closed-form and measured on decoded frames and samples, never on latents. Each looks at a part of the picture
where nothing else moves, and listens to the band of one track, so that the other tracks do not disturb it. None depends
on the level of the sound.
"""

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from talkies.streams.codec import Media
from talkies.world.attributes import mean_colour, nearest
from talkies.world.bands import split
from talkies.world.faces import MOUTH, UNITS, WALLS, Box
from talkies.world.hearing import SILENCE
from talkies.world.scenes import LAMP, LIGHT, LIGHTS, NOTES
from talkies.world.sync import LUMA, correlation, loudness_envelope, mouth_opening, region

LAMP_SEEN: Box = (LAMP[0] + 0.5, LAMP[1] + 0.5, LAMP[2] - 0.5, LAMP[3] - 0.5)
LIGHT_SEEN: tuple[Box, ...] = ((0.0, 29.0, 32.0, 32.0),)
WALL_SEEN: tuple[Box, ...] = ((0.0, 9.0, 2.0, 27.0), (28.0, 0.0, 32.0, 2.0), (30.0, 2.0, 32.0, 27.0))
AUDIBLE = 0.01
"""Power of the loudest frame of the effects, as a share of that of the whole sound, from which on there are some."""
TUNE = 5.0
"""Hz on both sides of a note in which it is heard."""


def squares(frames: Tensor) -> tuple[Tensor, ...]:
    """The frames [F, 3, H, H] of each person in frames [F, 3, H, people * H], from the left."""
    height, width = frames.shape[-2:]
    return tuple(frames[..., left : left + height] for left in range(0, width - height + 1, height))


def lamp(frames: Tensor) -> Tensor:
    """Brightness [F] fp64 of the lamp in frames [F, 3, H, W] in [-1, 1]: the luma of its middle, in [0, 1]."""
    luma = torch.einsum("fchw,c->fhw", (squares(frames)[0].double() + 1) / 2, torch.tensor(LUMA).double())
    return region(luma, LAMP_SEEN)


def light_kind(frames: Tensor) -> int:
    """Index into LIGHTS, and so into NOTES, of the light in frames [F, 3, H, W] in [-1, 1]."""
    return nearest(mean_colour(torch.cat(squares(frames)), LIGHT_SEEN), LIGHTS.values())


def wall_kind(frames: Tensor) -> str:
    """Which of WALLS is behind the people in frames [F, 3, H, W] in [-1, 1]."""
    return [*WALLS][nearest(mean_colour(torch.cat(squares(frames)), WALL_SEEN), WALLS.values())]


def music_kind(samples: Tensor, sample_rate: int) -> int:
    """Index into NOTES, and so into LIGHTS: the loudest note in mono samples [S]."""
    window = torch.hann_window(len(samples), dtype=torch.float64)
    power = torch.fft.rfft(samples.double().cpu() * window).abs().square()
    frequency = torch.fft.rfftfreq(len(samples), 1 / sample_rate, dtype=torch.float64)
    heard = [float(power[(frequency - note).abs() <= TUNE].sum()) for note in NOTES.values()]
    return max(range(len(heard)), key=heard.__getitem__)


def has_events(media: Media) -> bool:
    """Whether effects are heard in a clip with samples and frames."""
    assert media.samples is not None
    loudest = float(_loudness(media, "effects").square().max())
    return loudest >= AUDIBLE * max(SILENCE, float(media.samples.double().square().mean()))


def seen(media: Media, track: str) -> Tensor | None:
    """What follows a track [F] in the frames of a clip: the lamp, or a mouth; None if its person is not there."""
    assert media.frames is not None
    if track == "effects":
        return lamp(media.frames)
    people, person = squares(media.frames), int(track == "speech2")
    return mouth_opening(people[person]) if person < len(people) else None


def follows(media: Media, track: str, heard: str | None = None) -> float | None:
    """Correlation in [-1, 1] of what is seen of the track `speech`, `speech2` or `effects` with what is heard of it, or
    of the track `heard`, in a clip with frames and samples; None where the second person is not there, or no effect is
    heard."""
    shown = seen(media, track)
    if shown is None or (track == "effects" and not has_events(media)):
        return None
    return correlation(shown, _loudness(media, heard or track))


def places(track: str, people: int) -> tuple[Box, ...]:
    """Where a track is seen in a picture of so many people, in 32nds of its height: left, top, right, bottom."""
    seen_at = {
        "speech": [(0, MOUTH)],
        "speech2": [(1, MOUTH)],
        "effects": [(0, LAMP)],
        "music": [(person, LIGHT) for person in range(people)],
    }
    return tuple(
        (left + UNITS * person, top, right + UNITS * person, bottom)
        for person, (left, top, right, bottom) in seen_at[track]
        if person < people
    )


def mood(media: Media) -> bool:
    """Whether the light of a clip with frames and samples has the colour that its music calls for."""
    assert media.frames is not None
    assert media.samples is not None
    return light_kind(media.frames) == music_kind(media.samples, media.sample_rate)


def spoken(media: Media) -> Media:
    """The first person of a clip with frames and samples, and what is heard of the speech: as `sync` takes it."""
    assert media.frames is not None
    assert media.samples is not None
    speech = split(media.samples, media.sample_rate, ["speech"])["speech"].float()
    return replace(media, frames=squares(media.frames)[0], samples=speech)


def remixed(own: Media, other: Media, tracks: Collection[str]) -> Media:
    """`own` with these tracks of the sound of `other`, which is as long or is completed with silence."""
    assert own.samples is not None
    assert other.samples is not None
    if not tracks:
        return own
    given = torch.nn.functional.pad(other.samples, (0, max(0, len(own.samples) - len(other.samples))))
    ours, theirs = (split(sound, own.sample_rate, tracks) for sound in (own.samples, given[: len(own.samples)]))
    samples = own.samples.double().cpu() + torch.stack([theirs[track] - ours[track] for track in tracks]).sum(0)
    return replace(own, samples=samples.float())


def _loudness(media: Media, track: str) -> Tensor:
    """Loudness [F] of a track in each frame of a clip with frames and samples."""
    assert media.frames is not None
    assert media.samples is not None
    heard = split(media.samples, media.sample_rate, [track])[track]
    return loudness_envelope(heard, media.sample_rate, media.fps, len(media.frames))
