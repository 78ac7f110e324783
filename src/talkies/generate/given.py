"""Reads media that are given to a model instead of made: fitted to its clips, with what had to be changed."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from talkies.config import DataError
from talkies.media.container import UnevenError
from talkies.media.frames import read_film, read_shown
from talkies.media.mux import check_carried
from talkies.media.plausible import check_values
from talkies.media.probe import probe
from talkies.media.sound import read_audio, sound_end
from talkies.media.timeline import Beginning, find_beginning

SHORTEST = 0.1
"""Seconds of sound, at least, for a model whose clips follow a sound."""
SLACK = 1e-3
"""Seconds by which durations may differ without a word."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A given stream: `values` as the model takes them, samples [S] or frames [F, 3, H, W] in [-1, 1]; the file's
    `begin`, the time in seconds of the first value; `notes`: what differs from the file."""

    values: Tensor
    begin: float
    notes: tuple[str, ...] = field(default=())


def given_sound(
    path: Path, *, sample_rate: int, samples: int, more: float | None = 0.0, option: str = "audio", carried: bool = True
) -> Given:
    """The first `samples` of a file's sound, resampled to `sample_rate`, and what the file has of the next `more`
    seconds (None: all). `option` that the file is given to; `carried`: the film will have the sound as it is. Raises
    MediaError for a file that cannot be decoded or has values that no sound has, or whose sound mp4 cannot hold if it
    is carried."""
    info = probe(path)
    if info.audio_rate is None:
        raise DataError(f"sample: {path} has no sound; give a file with sound to --{option}")
    changed = check_carried(path, "audio") if carried else ()
    begin = find_beginning(path, modalities=("audio",))
    clip = samples / sample_rate
    seconds = max(clip, sound_end(path) - begin.seconds) if more is None else clip + more
    sound = read_audio(path, sample_rate=sample_rate, seconds=seconds, begin=begin)
    check_values(path, sound.numpy())
    sound = sound if more != 0 else sound[:samples]
    notes = []
    if info.audio_rate != sample_rate:
        notes.append(f"resampled from {info.audio_rate:,} to {sample_rate:,} Hz for the model")
    if (info.audio_channels or 1) > 1:
        notes.append(f"its {info.audio_channels} channels are mixed to one for the model")
    if not bool(sound.any()):
        notes.append("it is silent")
    if len(sound) < samples - SLACK * sample_rate:
        notes.append(f"it lasts {len(sound) / sample_rate:.2f} s: silence follows up to the {clip:.2f} s of a clip")
    elif more is not None and (info.audio_seconds or 0.0) > clip + SLACK:
        only = f"it lasts {info.audio_seconds:.2f} s: the clip is made for the first {clip:.2f} s"
        notes.append(f"{only}; --overlap makes a film for all of it")
    padding = max(0, samples - len(sound))
    return Given(values=torch.nn.functional.pad(sound, (0, padding)), begin=begin.seconds, notes=(*notes, *changed))


def check_audible(path: Path, sound: Tensor, sample_rate: int) -> None:
    """DataError for samples [S] that tell a model nothing: silence, and what ends before SHORTEST. Silence may follow a
    sound, and does not count as its duration."""
    heard = sound.nonzero()
    if not len(heard):
        raise DataError(f"sample: {path} is silent: nothing would be said; give a file with a voice to --audio")
    if (seconds := (int(heard[-1]) + 1) / sample_rate) < SHORTEST:
        raise DataError(f"sample: {path} sounds for {seconds:.2f} s; at least {SHORTEST} s are needed")


def given_film(path: Path, *, frames: int, fps: float, height: int, width: int) -> Given:
    """The first `frames` of a film at `fps`: at another rate of the file, or a variable one, the picture that is shown
    at each time, and the last one after the film; cropped around the centre and resized. Raises MediaError for a file
    that cannot be decoded, or whose pictures mp4 cannot hold."""
    info = probe(path)
    if info.fps is None:
        raise DataError(f"sample: {path} has no pictures; give a film to --video")
    changed = check_carried(path, "video")
    begin = find_beginning(path, modalities=("video",))
    film, lasts, notes = _shown(path, begin, info.fps, frames=frames, fps=fps, height=height, width=width)
    if (info.height, info.width) != (height, width):
        notes.append(f"cropped and resized from {info.width}x{info.height} to {width}x{height} for the model")
    wanted = frames / fps
    if lasts is not None:
        notes.append(f"it lasts {lasts:.2f} s: its last picture stands up to the {wanted:.2f} s of a clip")
    elif (info.seconds or 0.0) > wanted + 1 / fps:
        notes.append(f"it lasts {info.seconds:.2f} s: the clip is made for the first {wanted:.2f} s")
    return Given(values=film.float() / 127.5 - 1, begin=begin.seconds, notes=(*notes, *changed))


def _shown(
    path: Path, begin: Beginning, own: float, *, frames: int, fps: float, height: int, width: int
) -> tuple[Tensor, float | None, list[str]]:
    """uint8 [frames, 3, H, W] of a film at its `own` rate; its seconds if these are less than a clip's; notes."""
    chosen = [int(k * own / fps + SLACK) for k in range(frames)]
    try:
        film = read_film(path, frames=chosen[-1] + 1, fps=own, height=height, width=width, begin=begin, fewest=1).pixels
        there = len(film)
        lasts = there / own if there <= chosen[-1] else None
        notes = [f"sampled from {own:g} to {fps:g} fps for the model"] if abs(own / fps - 1) > SLACK else []
        return film[[min(index, there - 1) for index in chosen]], lasts, notes
    except UnevenError:
        film = read_shown(path, times=[k / fps for k in range(frames)], height=height, width=width, begin=begin).pixels
    there = len(film)
    notes = [f"its frame rate varies: the picture shown at each time is taken, {fps:g} a second, for the model"]
    return film[[min(k, there - 1) for k in range(frames)]], there / fps if there < frames else None, notes
