"""What a shard set stores: encoded clips (Clip), and what they share (Header)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from talkies.config import DataError
from talkies.config.quoting import shown
from talkies.streams import Grid
from talkies.streams.batch import Text

_GEOMETRY = re.compile(r"\d+x\d+x(\d+)@\d+(\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class Latent:
    """One encoded stream of a clip, in the codec's dtype: `values` [C, *grid.shape], of whose time steps the first
    `valid` are not padding. `start`: seconds by which it begins after the clip, negative if before (None: with it)."""

    values: Tensor
    grid: Grid
    valid: int
    start: float | None = None


@dataclass(frozen=True, kw_only=True)
class Caption:
    """One text of a clip: the caption itself, and its features [length, D]."""

    caption: str
    features: Tensor


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One encoded clip: its streams and its texts by name."""

    id: str
    streams: Mapping[str, Latent]
    texts: Mapping[str, Caption]


@dataclass(frozen=True, kw_only=True)
class Header:
    """What all clips of a set share.

    `geometry` is HEIGHTxWIDTHxFRAMES@FPS and `fps` its exact rate; `codecs` maps each codec's name to its identity
    (sha256), `codec_configs` to its recipe section; `made_by` maps every stream and text to the codec that encoded it;
    `null_texts` (batch 1) are the encoded empty captions by text.
    """

    name: str
    split: str
    geometry: str
    fps: float
    codecs: Mapping[str, str]
    codec_configs: Mapping[str, Mapping[str, Any]]
    made_by: Mapping[str, str]
    null_texts: Mapping[str, Text]

    def __post_init__(self) -> None:
        if _GEOMETRY.fullmatch(self.geometry) is None:
            raise DataError(
                f"data: geometry {shown(self.geometry)} of set {shown(self.name)} is not HEIGHTxWIDTHxFRAMES@FPS"
            )
        if not math.isclose(self.fps, rate := float(self.geometry.rpartition("@")[2]), rel_tol=0.01):
            raise DataError(
                f"data: set {shown(self.name)} has `fps` {shown(self.fps)}, but {rate:g} in its geometry "
                f"{shown(self.geometry)}: copy it again, or run `talkies prepare` again"
            )
        for name, text in self.null_texts.items():
            if text.embedding.shape[0] != 1:
                raise DataError(
                    f"data: the null text {shown(name)} of set {shown(self.name)} has batch {text.embedding.shape[0]}, "
                    "not 1"
                )

    @property
    def seconds(self) -> float:
        """Duration of every clip of the set: frames / fps."""
        match = _GEOMETRY.fullmatch(self.geometry)
        assert match is not None
        return int(match[1]) / self.fps
