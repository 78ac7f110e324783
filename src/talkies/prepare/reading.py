"""Decoded windows of media files, kept while they fit: several sets are often made from one source."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from talkies.media.downmix import Channel
from talkies.media.read import Film, MediaInfo, probe, read_audio, read_film
from talkies.media.timeline import Beginning, find_beginning
from talkies.prepare.geometry import Geometry
from talkies.streams import Modality

BUDGET = 1 << 30
"""Bytes of decoded media that are kept; what comes later is decoded anew each time."""

Kept = TypeVar("Kept", Tensor, Film)


class Reader:
    """Reads the first window of files, from where they have what a set keeps. Raises MediaError, which is not kept."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._left = budget
        self._windows: dict[object, Any] = {}
        self._infos: dict[Path, MediaInfo] = {}
        self._beginnings: dict[tuple[Path, frozenset[Modality]], Beginning] = {}

    def probe(self, path: Path) -> MediaInfo:
        """What the file holds."""
        if path not in self._infos:
            self._infos[path] = probe(path)
        return self._infos[path]

    def beginning(self, path: Path, modalities: tuple[Modality, ...]) -> Beginning:
        """Where the window of a set with these modalities begins."""
        key = path, frozenset(modalities)
        if key not in self._beginnings:
            self._beginnings[key] = find_beginning(path, modalities=modalities)
        return self._beginnings[key]

    def film(self, path: Path, size: Geometry, begin: Beginning) -> Film:
        """The frames of the window."""
        return self._kept(
            (path, size, begin.seconds),
            lambda: read_film(
                path, frames=size.frames, fps=size.fps, height=size.height, width=size.width, begin=begin
            ),
        )

    def sound(self, path: Path, size: Geometry, sample_rate: int, begin: Beginning, channel: Channel) -> Tensor:
        """fp32 [S], shorter than the window where the file's sound is."""
        return self._kept(
            (path, size.seconds, sample_rate, begin.seconds, channel),
            lambda: read_audio(path, sample_rate=sample_rate, seconds=size.seconds, begin=begin, channel=channel),
        )

    def _kept(self, key: object, read: Callable[[], Kept]) -> Kept:
        if key in self._windows:
            kept: Kept = self._windows[key]
            return kept
        found = read()
        if found.nbytes <= self._left:
            self._windows[key] = found
            self._left -= found.nbytes
        return found
