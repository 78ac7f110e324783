"""Reads media that are given to a model instead of made: fitted to its clips, with what had to be changed."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from talkies.config import DataError
from talkies.media.frames import read_film
from talkies.media.probe import probe
from talkies.media.sound import read_audio, sound_end
from talkies.media.timeline import find_beginning

SLACK = 1e-3
"""Seconds by which durations may differ without a word."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A given stream: `values` as the model takes them, samples [S] or frames [F, 3, H, W] in [-1, 1]; the file's
    `begin`, the time in seconds of the first value; `notes`: what differs from the file."""

    values: Tensor
    begin: float
    notes: tuple[str, ...] = field(default=())


def given_sound(path: Path, *, sample_rate: int, samples: int, more: float | None = 0.0) -> Given:
    """The first `samples` of a file's sound, resampled to `sample_rate`, and what the file has of the next `more`
    seconds (None: all). Raises MediaError for a file that cannot be decoded."""
    info = probe(path)
    if info.audio_rate is None:
        raise DataError(f"sample: {path} has no sound; give a file with sound to --audio")
    begin = find_beginning(path, modalities=("audio",))
    clip = samples / sample_rate
    seconds = max(clip, sound_end(path) - begin.seconds) if more is None else clip + more
    sound = read_audio(path, sample_rate=sample_rate, seconds=seconds, begin=begin)
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
    return Given(values=torch.nn.functional.pad(sound, (0, padding)), begin=begin.seconds, notes=tuple(notes))


def given_film(path: Path, *, frames: int, fps: float, height: int, width: int) -> Given:
    """The first `frames` of a film at `fps`: at another rate of the file, the picture that is shown at each time;
    cropped around the centre and resized. Raises MediaError for a file that cannot be decoded."""
    info = probe(path)
    if info.fps is None:
        raise DataError(f"sample: {path} has no pictures; give a film to --video")
    begin = find_beginning(path, modalities=("video",))
    chosen = [int(k * info.fps / fps + SLACK) for k in range(frames)]
    there = chosen[-1] + 1 if info.frames is None else min(chosen[-1] + 1, info.frames)
    film = read_film(path, frames=there, fps=info.fps, height=height, width=width, begin=begin)
    pixels = film.pixels[[min(index, there - 1) for index in chosen]]
    notes, wanted = [], frames / fps
    if abs(info.fps / fps - 1) > SLACK:
        notes.append(f"sampled from {info.fps:g} to {fps:g} fps for the model")
    if (info.height, info.width) != (height, width):
        notes.append(f"cropped and resized from {info.width}x{info.height} to {width}x{height} for the model")
    if there <= chosen[-1]:
        notes.append(f"it lasts {there / info.fps:.2f} s: its last picture stands up to the {wanted:.2f} s of a clip")
    elif (info.seconds or 0.0) > wanted + 1 / fps:
        notes.append(f"it lasts {info.seconds:.2f} s: the clip is made for the first {wanted:.2f} s")
    return Given(values=pixels.float() / 127.5 - 1, begin=begin.seconds, notes=tuple(notes))
