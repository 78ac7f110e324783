"""Reads tracks that are given to a model: files of tracks, or the sound of one file, which is demixed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from talkies.codecs.demix_config import SPEECH
from talkies.config import DataError
from talkies.config.quoting import listed
from talkies.generate.given import Given, check_audible, given_sound
from talkies.generate.prompts import TRACKS
from talkies.generate.voice import PAUSE, levels
from talkies.media.sound import resampled, sound_end
from talkies.streams.codec import Demixer

TOLERANCE = 0.05
"""Seconds by which tracks may differ in length."""


@dataclass(frozen=True, kw_only=True)
class GivenTracks:
    """`tracks`: the samples [S] of each, at the model's rate; `mix`: their sum; `notes`: what differs from files."""

    tracks: Mapping[str, Tensor]
    mix: Tensor
    sample_rate: int
    notes: tuple[str, ...] = field(default=())


def demixed(
    path: Path,
    demixer: Demixer,
    names: tuple[str, ...],
    *,
    sample_rate: int,
    samples: int,
    more: float | None,
    device: torch.device | str,
) -> tuple[Given, GivenTracks]:
    """The sound of a file, which is demixed as a whole, and its tracks: `samples`, and what there is of the next `more`
    seconds (None: all), at `sample_rate`. Of `names`, those that the demixer does not find, of other speakers, are
    silent. Raises what `given_sound` raises, and DataError if all that it finds are silent, but for what it leaves of
    others."""
    rate = demixer.sample_rate
    sound = given_sound(path, sample_rate=rate, samples=round(samples * rate / sample_rate), more=None)
    if not bool(sound.values.any()):
        raise _unheard(f"{path} is silent", names)
    check_audible(path, sound.values, rate)
    parts = demixer.demix(sound.values.to(device))
    heard = tuple(name for name in names if name in parts)
    loudest = max((_loudest(parts[name].float().cpu(), rate) for name in heard), default=0.0)
    if loudest <= PAUSE * _loudest(sound.values, rate):
        raise _unheard(str(path), heard)
    kept = None if more is None else samples + round(more * sample_rate)
    tracks = {name: resampled(part.float().cpu(), rate, sample_rate)[:kept] for name, part in parts.items()}
    tracks = {name: pad(track, (0, max(0, samples - len(track)))) for name, track in tracks.items()}
    mix, others = _sum(tracks), [name for name in names if name not in parts]
    tracks |= {name: torch.zeros_like(mix) for name in others}
    notes = (f"{path}: {_one_speaker(others)}",) if others else ()
    return sound, GivenTracks(tracks=tracks, mix=mix, sample_rate=sample_rate, notes=notes)


def _one_speaker(others: Sequence[str]) -> str:
    """What is said of a sound whose demixer parts no speakers."""
    several = " and ".join(f"--{name}" for name in (SPEECH, *others))
    return f"demixed as the sound of one speaker, {listed(others)} is silent: give {several} for several"


def read_tracks(
    paths: Mapping[str, Path], names: tuple[str, ...], *, sample_rate: int, samples: int, more: float | None
) -> GivenTracks:
    """Files of tracks; of `names`, those that are not given are silent. `samples` and `more` as above. DataError for
    files of different lengths, or if all are silent."""
    given = {track: _track(path, track, sample_rate, samples, more) for track, path in paths.items()}
    _check_lengths({paths[track]: sound_end(paths[track]) - one.begin for track, one in given.items()})
    longest = max(len(one.values) for one in given.values())
    tracks = {
        name: pad(given[name].values, (0, longest - len(given[name].values))) if name in given else torch.zeros(longest)
        for name in names
    }
    mix = _sum(tracks)
    if not bool(mix.any()):
        raise DataError(f"sample: {', '.join(map(str, paths.values()))}: all tracks are silent; give one with a sound")
    notes = tuple(f"{paths[track]}: {note}" for track, one in given.items() for note in one.notes)
    return GivenTracks(tracks=tracks, mix=mix, sample_rate=sample_rate, notes=notes)


def _track(path: Path, track: str, sample_rate: int, samples: int, more: float | None) -> Given:
    """A file of one track; its sound is not carried, since the film has the sum of all."""
    return given_sound(path, sample_rate=sample_rate, samples=samples, more=more, option=track, carried=False)


def _check_lengths(lengths: Mapping[Path, float]) -> None:
    """DataError for files that last differently, in seconds, whatever a clip takes of them."""
    if max(lengths.values()) - min(lengths.values()) > TOLERANCE:
        spelled = ", ".join(f"{path} {seconds:.2f} s" for path, seconds in lengths.items())
        raise DataError(f"sample: tracks of one sound are equally long; found {spelled}: give files of one length")


def _loudest(samples: Tensor, rate: int) -> float:
    """The RMS of the loudest frame of a sound [S]."""
    return float(levels(samples, rate)[1].max())


def _unheard(what: str, names: tuple[str, ...]) -> DataError:
    heard = ", ".join(track for track in TRACKS if track in names)
    return DataError(f"sample: {what}: none of the tracks that the model hears sounds: {heard}; give another file")


def _sum(tracks: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([*tracks.values()]).sum(0).clamp(-1, 1)
