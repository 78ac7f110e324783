"""Reads the recording of a voice that is to speak: its first words, up to the length that a model was trained with.

Several people in one recording are not told from one: that needs a model of voices, which nothing here has.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from talkies.config import DataError
from talkies.media.clipping import find_clipping
from talkies.media.plausible import check_values
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.media.timeline import find_beginning

SHORTEST = 0.5
"""Seconds of a voice, at least."""
LISTENED = 120.0
"""Seconds of a recording in which a voice is looked for."""
FRAME = 0.02
"""Seconds over which loudness is measured."""
SILENT = 1e-3
"""RMS below which everything is silence."""
PAUSE = 0.01
"""Share of the loudest frame's RMS (-40 dB) below which the recording's ends are cut off."""
SLACK = 0.05
"""Seconds that may be left out without a word."""


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A voice for the stream `stream`: mono `samples` [S] in [-1, 1]; `notes`: what differs from the file."""

    stream: str
    samples: Tensor
    notes: tuple[str, ...]


def read_voice(path: Path, *, stream: str, sample_rate: int, longest: int) -> Voice:
    """The first `longest` samples at `sample_rate` from where the recording's voice sets in. DataError for a recording
    that is silent, clipped or too short, or has no sound; MediaError for a file that cannot be decoded, or has values
    that no sound has."""
    info = probe(path)
    if info.audio_rate is None:
        raise DataError(f"{path} has no sound: give a recording of a voice")
    begin, rate = find_beginning(path, modalities=("audio",)), info.audio_rate
    sound = read_audio(path, sample_rate=rate, seconds=LISTENED, begin=begin)
    check_values(path, sound.numpy())
    first, end = _voiced(path, sound, rate)
    wanted = longest / sample_rate
    last = min(end, first + round(wanted * rate))
    _check_length(path, (last - first) / rate, wanted)
    if (crowd := find_clipping(sound[first:last])) is not None:
        raise DataError(
            f"{path} is clipped at {crowd.level:.2f} of full scale: give a recording that was made at a lower level"
        )
    # Resampled from the whole, so that its ends are those of the recording.
    samples = read_audio(path, sample_rate=sample_rate, seconds=last / rate, begin=begin)
    samples = samples[round(first / rate * sample_rate) :][:longest]
    notes = _notes(rate, sample_rate, info.audio_channels or 1)
    whole = max(len(sound) / rate, info.audio_seconds or 0.0)
    if whole - (last - first) / rate > SLACK:
        notes.append(f"it lasts {whole:.2f} s: the voice is taken from {first / rate:.2f} to {last / rate:.2f} s")
    return Voice(stream=stream, samples=samples, notes=tuple(notes))


def levels(sound: Tensor, rate: int) -> tuple[int, Tensor]:
    """The samples of a FRAME, and the RMS of every frame of a sound [S]."""
    size = max(1, round(FRAME * rate))
    padded = torch.nn.functional.pad(sound, (0, -len(sound) % size))
    return size, padded.view(-1, size).square().mean(1).sqrt()


def _voiced(path: Path, sound: Tensor, rate: int) -> tuple[int, int]:
    """The first sample that is not silence, and the end of the last one, to within a frame."""
    size, loud = levels(sound, rate)
    if not len(sound) or float(loud.max()) < SILENT:
        within = f" in its first {LISTENED:g} s" if len(sound) >= int(LISTENED * rate) else ""
        raise DataError(f"{path} is silent{within}: give a recording of a voice")
    heard = (loud > PAUSE * loud.max()).nonzero().flatten()
    return int(heard[0]) * size, min(len(sound), (int(heard[-1]) + 1) * size)


def _check_length(path: Path, seconds: float, longest: float) -> None:
    if seconds < (least := min(SHORTEST, longest)) - FRAME:
        raise DataError(f"{path} sounds for {seconds:.2f} s: at least {least:g} s of a voice are needed")


def _notes(own: int, rate: int, channels: int) -> list[str]:
    notes = [f"resampled from {own:,} to {rate:,} Hz for the model"] if own != rate else []
    return [*notes, f"its {channels} channels are mixed to one for the model"] if channels > 1 else notes
