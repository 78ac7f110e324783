"""A cache of decoded windows of media files: several sets are often made from one source."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from talkies.media.downmix import Channel
from talkies.media.frames import Film, read_film
from talkies.media.probe import MediaInfo, probe
from talkies.media.sound import read_audio, sound_end
from talkies.media.timeline import Beginning, find_beginning
from talkies.prepare.geometry import Geometry
from talkies.streams.codec import Demixer

BUDGET = 1 << 30
"""Size of the cache in bytes; once it is full, other windows are decoded each time."""

NONE: Mapping[str, Demixer] = {}

Window = TypeVar("Window", Tensor, Film)


class Reader:
    """Reads the first window of files, from where they have what a set keeps. MediaError is raised and not cached.
    `demixers` by the keys of their sections; their sound is on `device`."""

    def __init__(
        self,
        budget: int = BUDGET,
        *,
        demixers: Mapping[str, Demixer] = NONE,
        device: torch.device | str = "cpu",
    ) -> None:
        self.demixers, self.device = demixers, device
        self._left = budget
        self._windows: dict[object, Any] = {}
        self._infos: dict[Path, MediaInfo] = {}
        self._beginnings: dict[tuple[Path, frozenset[str]], Beginning] = {}
        self._ends: dict[Path, float] = {}

    def probe(self, path: Path) -> MediaInfo:
        """The streams of the file."""
        if path not in self._infos:
            self._infos[path] = probe(path)
        return self._infos[path]

    def beginning(self, path: Path, modalities: tuple[str, ...]) -> Beginning:
        """The beginning of the window of a set with these modalities."""
        key = path, frozenset(modalities)
        if key not in self._beginnings:
            self._beginnings[key] = find_beginning(path, modalities=modalities)
        return self._beginnings[key]

    def film(self, path: Path, size: Geometry, begin: Beginning) -> Film:
        """The frames of the window."""
        return self._cached(
            (path, size, begin.seconds),
            lambda: read_film(
                path, frames=size.frames, fps=size.fps, height=size.height, width=size.width, begin=begin
            ),
        )

    def sound(self, path: Path, seconds: Fraction, sample_rate: int, begin: Beginning, channel: Channel) -> Tensor:
        """fp32 [S] of so many seconds from `begin` on, fewer if the file's sound ends earlier."""
        return self._cached(
            (path, seconds, sample_rate, begin.seconds, channel),
            lambda: read_audio(path, sample_rate=sample_rate, seconds=seconds, begin=begin, channel=channel),
        )

    def sound_end(self, path: Path) -> float:
        """When the file's sound ends, in seconds of its own time."""
        if path not in self._ends:
            self._ends[path] = sound_end(path)
        return self._ends[path]

    def made(self, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        """What `make` makes of a file, under a name that no other has."""
        return self._cached(("made", *key), make)

    def _cached(self, key: object, read: Callable[[], Window]) -> Window:
        if key in self._windows:
            cached: Window = self._windows[key]
            return cached
        window = read()
        if window.nbytes <= self._left:
            self._windows[key] = window
            self._left -= window.nbytes
        return window
