"""Recipe keys of demixers, which part a sound into tracks (speech, effects, music)."""

from collections.abc import Mapping
from dataclasses import field
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from talkies.codecs.speech_config import Medium
from talkies.config import RecipeError, config
from talkies.config.numbers import NonNegative, Positive, SampleRate
from talkies.config.quoting import listed, shown

Track = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]
"""The name of a track; of two speakers, the second one's is speech2."""
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
    def tracks(self) -> tuple[str, ...]:
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
    def tracks(self) -> tuple[str, ...]:
        """The names of its tracks."""
        return (*self.bands,)


@config
class DemucsConfig:
    """HT-Demucs (arXiv 2211.08553) at 44.1 kHz. `weights`: a folder with config.json, the arguments of the network, and
    *.safetensors, one for each network of which the mean is taken, as `talkies import FOLDER --as htdemucs` writes it.

    `tracks`: the names of what the network parts a sound into, in its order (by default that of MVSEP-CDX23, which was
    trained on DnR); `shifts`: how many shifted copies of the sound are averaged (0: the sound as it is); `overlap` of
    neighbouring segments. It needs the extra `demucs`."""

    medium: ClassVar[Medium] = "tracks"
    fitted: ClassVar[bool] = False
    sample_rate: ClassVar[int] = 44100
    kind: Literal["demucs"] = "demucs"
    weights: str | None = None
    tracks: tuple[Track, ...] = ("music", "effects", "speech")
    shifts: Annotated[int, Field(ge=0, le=64)] = 1
    overlap: Annotated[float, Field(ge=0, le=0.95)] = 0.8


DemixerConfig = TracksConfig | BandsConfig | DemucsConfig


def demixers(codecs: Mapping[str, Any]) -> dict[str, DemixerConfig]:
    """Those of the codecs that part a sound into tracks."""
    return {name: codec for name, codec in codecs.items() if codec.medium == "tracks"}


def parts_sounds(codecs: Mapping[str, Any]) -> bool:
    """Whether one of the codecs can part a sound, and does not only read files of tracks."""
    return any(not isinstance(demixer, TracksConfig) for demixer in demixers(codecs).values())


def check_demixer(demixer: DemixerConfig, key: str) -> None:
    """RecipeError, with the `key` of its section, for tracks that are named twice or not at all, and for bands that no
    sound has or that overlap."""
    names = demixer.tracks
    if not names or len(set(names)) < len(names):
        where = {"tracks": "names", "bands": "bands", "demucs": "tracks"}[demixer.kind]
        raise RecipeError(f"recipe: `{key}.{where}` is {listed(names) or 'empty'}: name every track once")
    if not isinstance(demixer, BandsConfig):
        return
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
