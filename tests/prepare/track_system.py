"""A system whose shards store tracks of the sound beside the sound itself, for the tests of preparation."""

from collections.abc import Mapping
from typing import Any, Literal

from talkies.config import config
from talkies.streams.captions import WHOLE, Captions
from talkies.streams.layout import Layout
from talkies.streams.system import Stored

TRACKS = ("speech", "effects", "music")


@config
class TrackModel:
    kind: Literal["parted"] = "parted"


class TrackSystem:
    """The part of a System that preparation asks for; `stored_tracks`: stream -> track."""

    model: Any = TrackModel
    phases: Any = TrackModel
    codecs: Mapping[str, str] = {"video": "video", "sound": "audio", "mix": "audio", "text": "text", "demix": "tracks"}
    slots: Mapping[str, tuple[str, ...]] = {}
    scales: Mapping[str, str] = {}
    options: Mapping[str, str] = {}
    captions: Captions = WHOLE
    layouts: Mapping[str, Layout] = {}
    voices = False
    kind = "parted"

    def __init__(self, tracks: tuple[str, ...] = TRACKS) -> None:
        self.stored_tracks = {track: track for track in tracks}

    def stored(self, codecs: Mapping[str, Any]) -> dict[str, Stored]:
        every = {name: Stored(codec="sound", track=track) for name, track in self.stored_tracks.items()}
        whole = {"audio": Stored(codec="mix"), "video": Stored(codec="video"), "heard": Stored(codec="sound")}
        return {name: one for name, one in {**whole, **every}.items() if one.codec in codecs}

    def texts(self, codecs: Mapping[str, Any]) -> dict[str, str]:
        return {"text": "text"}
