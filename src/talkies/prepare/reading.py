"""Decoded windows of media files, kept while they fit: several sets are often made from one source."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from talkies.media.downmix import Channel
from talkies.media.read import MediaInfo, probe, read_audio, read_frames
from talkies.media.timeline import Beginning, find_beginning
from talkies.prepare.geometry import Geometry
from talkies.streams import Modality

BUDGET = 1 << 30
"""Bytes of decoded media that are kept; what comes later is decoded anew each time."""


class Reader:
    """Reads the first window of files, from where they have what a set keeps. Raises MediaError, which is not kept."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._left = budget
        self._tensors: dict[object, Tensor] = {}
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

    def frames(self, path: Path, size: Geometry, begin: Beginning) -> Tensor:
        """uint8 [F, 3, H, W]."""
        return self._kept(
            (path, size, begin.seconds),
            lambda: read_frames(
                path, frames=size.frames, fps=size.fps, height=size.height, width=size.width, begin=begin
            ),
        )

    def sound(self, path: Path, size: Geometry, sample_rate: int, begin: Beginning, channel: Channel) -> Tensor:
        """fp32 [S], shorter than the window where the file's sound is."""
        return self._kept(
            (path, size.seconds, sample_rate, begin.seconds, channel),
            lambda: read_audio(path, sample_rate=sample_rate, seconds=size.seconds, begin=begin, channel=channel),
        )

    def _kept(self, key: object, read: Callable[[], Tensor]) -> Tensor:
        found = self._tensors.get(key)
        if found is None:
            found = read()
            if found.nbytes <= self._left:
                self._tensors[key] = found
                self._left -= found.nbytes
        return found
