"""The tracks that are given to a model, as it hears them."""

from dataclasses import dataclass

from torch import Tensor

from talkies.generate.given import Given
from talkies.generate.given_tracks import GivenTracks, demixed, read_tracks
from talkies.generate.model import Generator
from talkies.generate.prompts import TRACKS, Asked


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """Those of a sound; `given`: the sound that was demixed (None: they are files)."""

    tracks: GivenTracks
    given: Given | None = None


def tracks_of(asked: Asked, model: Generator, *, whole: bool) -> Tracks | None:
    """What a model that hears tracks is given of the files; None if nothing. `whole`: also what is longer than a clip.
    Raises what `demixed` and `read_tracks` raise."""
    paths = {name: asked.files[name] for name in TRACKS if name in asked.files}
    if not model.tracks or not ("audio" in asked.files or paths):
        return None
    stream = next(iter(model.tracks))
    rate, samples = model.codecs.audio[model.codec_of(stream)].sample_rate, model.samples_of(stream)
    more = None if whole else (model.hears(stream) - samples) / rate
    names = tuple(model.tracks.values())
    if paths:
        return Tracks(tracks=read_tracks(paths, names, sample_rate=rate, samples=samples, more=more))
    (demixer,) = model.codecs.demix.values()
    given, parted = demixed(
        asked.files["audio"], demixer, names, sample_rate=rate, samples=samples, more=more, device=model.device
    )
    return Tracks(tracks=parted, given=given)


def streams_of(tracks: Tracks | None, model: Generator) -> dict[str, Tensor]:
    """The samples [S] of every stream of a track."""
    return {} if tracks is None else {stream: tracks.tracks.tracks[track] for stream, track in model.tracks.items()}
