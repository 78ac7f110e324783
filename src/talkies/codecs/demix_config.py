"""Recipe keys of demixers, which part a sound into tracks (speech, effects, music)."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from talkies.codecs.speech_config import Medium
from talkies.config import RecipeError, config
from talkies.config.numbers import NonNegative, Positive, SampleRate
from talkies.config.quoting import listed, shown
from talkies.config.schema import added

Track = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]
"""The name of a track; of two speakers, the second one's is speech2."""
SPEECH = "speech"
"""The track from which those of other speakers are taken."""
TOY = {"music": (20.0, 80.0), "speech": (90.0, 1900.0), "speech2": (2000.0, 3800.0), "effects": (4200.0, 7000.0)}
"""Track of the synthetic world -> the band in Hz in which it is heard (world/bands.py)."""


@config
class TracksConfig:
    """Tracks that were demixed before: the files NAME.TRACK.wav, or NAME.LABEL.TRACK.wav with a `label`, beside each
    media file NAME.mp4. It demixes nothing."""

    medium: ClassVar[Medium] = "tracks"
    fitted: ClassVar[bool] = False
    kind: Literal["tracks"] = "tracks"
    names: tuple[Track, ...] = ("speech", "effects", "music")
    label: Track | None = None

    @property
    def all_tracks(self) -> tuple[str, ...]:
        """The names of its tracks."""
        return self.names

    def suffix(self, track: str) -> str:
        """What replaces the suffix of a media file in the name of a track's."""
        return f".{track}.wav" if self.label is None else f".{self.label}.{track}.wav"


@config
class BandsConfig:
    """Tracks that lie in frequency bands of their own, as the synthetic world's do: linear-phase filters of a whole
    file, in closed form. `bands`: track -> [lowest, highest] frequency in Hz; within `edge` Hz outside of them the gain
    falls to 0. What lies in no band is in no track."""

    medium: ClassVar[Medium] = "tracks"
    fitted: ClassVar[bool] = False
    kind: Literal["bands"] = "bands"
    bands: dict[Track, tuple[NonNegative, Positive]] = field(default_factory=lambda: dict(TOY))
    edge: Positive = 10.0
    sample_rate: SampleRate = 16000

    @property
    def all_tracks(self) -> tuple[str, ...]:
        """The names of its tracks."""
        return (*self.bands,)


@config
class DemucsConfig:
    """HT-Demucs (arXiv 2211.08553) at 44.1 kHz. `weights`: a folder with config.json, the arguments of the network, and
    *.safetensors, one for each network of which the mean is taken, as `talkies import FOLDER --as htdemucs` writes it.

    `tracks`: the names of what the network parts a sound into, in its order (by default that of MVSEP-CDX23, which was
    trained on DnR); `shifts`: how many shifted copies of the sound are averaged (0: the sound as it is); `overlap` of
    neighbouring segments. It needs the extra `demucs`.

    `other_speakers`: tracks of speakers beside the first, whom no network parts: the files NAME.TRACK.wav beside each
    media file NAME.mp4. In a set that stores them, `speech` is what the network finds, less these files."""

    medium: ClassVar[Medium] = "tracks"
    fitted: ClassVar[bool] = False
    sample_rate: ClassVar[int] = 44100
    kind: Literal["demucs"] = "demucs"
    weights: str | None = None
    tracks: tuple[Track, ...] = ("music", "effects", "speech")
    shifts: Annotated[int, Field(ge=0, le=64)] = 1
    overlap: Annotated[float, Field(ge=0, le=0.95)] = 0.8
    other_speakers: tuple[Track, ...] = added(default=())

    @property
    def all_tracks(self) -> tuple[str, ...]:
        """The names of its tracks: the network's, then those of files."""
        return (*self.tracks, *self.other_speakers)


DemixerConfig = TracksConfig | BandsConfig | DemucsConfig


def demixers(codecs: Mapping[str, Any]) -> dict[str, DemixerConfig]:
    """Those of the codecs that part a sound into tracks."""
    return {name: codec for name, codec in codecs.items() if codec.medium == "tracks"}


def parts_sounds(codecs: Mapping[str, Any]) -> bool:
    """Whether one of the codecs can part a sound, and does not only read files of tracks."""
    return any(not isinstance(demixer, TracksConfig) for demixer in demixers(codecs).values())


def files_of(demixer: DemixerConfig, tracks: Iterable[str]) -> dict[str, str]:
    """Track -> what replaces the suffix of a media file in the name of the track's file, of those that are files."""
    if isinstance(demixer, TracksConfig):
        return {track: demixer.suffix(track) for track in tracks}
    others = demixer.other_speakers if isinstance(demixer, DemucsConfig) else ()
    return {track: f".{track}.wav" for track in tracks if track in others}


def check_demixer(demixer: DemixerConfig, key: str) -> None:
    """RecipeError, with the `key` of its section, for tracks that are named twice or not at all, for bands that no
    sound has or that overlap, and for other speakers where no speech is found."""
    names = demixer.tracks if isinstance(demixer, DemucsConfig) else demixer.all_tracks
    if not names or len(set(names)) < len(names):
        where = {"tracks": "names", "bands": "bands", "demucs": "tracks"}[demixer.kind]
        raise RecipeError(f"recipe: `{key}.{where}` is {listed(names) or 'empty'}: name one or more tracks, each once")
    if isinstance(demixer, DemucsConfig):
        _check_speakers(demixer, f"{key}.other_speakers", f"{key}.tracks")
    if isinstance(demixer, BandsConfig):
        _check_bands(demixer, key)


def _check_speakers(demixer: DemucsConfig, key: str, own: str) -> None:
    names, found = demixer.other_speakers, demixer.tracks
    if len(set(names)) < len(names):
        raise RecipeError(f"recipe: `{key}` is {listed(names)}: name one or more tracks, each once")
    if both := [name for name in names if name in found]:
        raise RecipeError(
            f"recipe: `{key}` names {shown(both[0])}, which the network finds (`{own}`): drop it from one of them"
        )
    if names and SPEECH not in found:
        raise RecipeError(
            f"recipe: `{key}` names {listed(names)}, whose files are taken off the track {SPEECH}, but `{own}` is "
            f"{listed(found)}: name it there, or remove the key"
        )


def _check_bands(demixer: BandsConfig, key: str) -> None:
    for name, (low, high) in demixer.bands.items():
        if not low < high <= demixer.sample_rate / 2:
            raise RecipeError(
                f"recipe: `{key}.bands.{name}` is {low:g} to {high:g} Hz; needed lowest < highest <= "
                f"{demixer.sample_rate / 2:g}, half of `sample_rate`"
            )
    ordered = sorted(demixer.bands.items(), key=lambda entry: entry[1])
    for (name, (_, high)), (other, (low, _)) in pairwise(ordered):
        if low < high:
            raise RecipeError(
                f"recipe: `{key}.bands` {shown(name)} and {shown(other)} overlap from {low:g} to {high:g} Hz, so that "
                "one sound would be in two tracks: part them"
            )
