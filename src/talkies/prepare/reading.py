"""Decoded windows of media files, kept while they fit: several sets are often made from one source."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from talkies.media.read import MediaInfo, probe, read_audio, read_frames
from talkies.prepare.geometry import Geometry

BUDGET = 1 << 30
"""Bytes of decoded media that are kept; what comes later is decoded anew each time."""


class Reader:
    """Reads the first window of files. Raises MediaError, which is not kept."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._left = budget
        self._tensors: dict[object, Tensor] = {}
        self._infos: dict[Path, MediaInfo] = {}

    def probe(self, path: Path) -> MediaInfo:
        """What the file holds."""
        if path not in self._infos:
            self._infos[path] = probe(path)
        return self._infos[path]

    def frames(self, path: Path, size: Geometry) -> Tensor:
        """uint8 [F, 3, H, W]."""
        return self._kept(
            (path, size),
            lambda: read_frames(path, frames=size.frames, fps=size.fps, height=size.height, width=size.width),
        )

    def sound(self, path: Path, size: Geometry, sample_rate: int) -> Tensor:
        """fp32 [S], shorter than the window where the file's sound is."""
        return self._kept(
            (path, size.seconds, sample_rate),
            lambda: read_audio(path, sample_rate=sample_rate, seconds=size.seconds),
        )

    def _kept(self, key: object, read: Callable[[], Tensor]) -> Tensor:
        found = self._tensors.get(key)
        if found is None:
            found = read()
            if found.nbytes <= self._left:
                self._tensors[key] = found
                self._left -= found.nbytes
        return found
