"""What a shard set stores: encoded clips (Clip), and what they share (Header)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from talkies.config import DataError
from talkies.config.quoting import shown
from talkies.streams import Grid, Modality
from talkies.streams.batch import Text

_GEOMETRY = re.compile(r"\d+x\d+x(\d+)@\d+(\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One encoded clip, in the dtypes of the codecs.

    `latents[m]` [C, *shape] with `grids[m]` its geometry and `valid[m]` how many of its time steps are not padding;
    `image` [C, T, H, W] the latent of (first frame, then mid-grey), None without video; `text` [L, D] the encoded
    caption, zero past its first `text_length` rows.
    """

    id: str
    caption: str
    latents: Mapping[Modality, Tensor]
    valid: Mapping[Modality, int]
    grids: Mapping[Modality, Grid]
    image: Tensor | None
    text: Tensor
    text_length: int


@dataclass(frozen=True, kw_only=True)
class Header:
    """What all clips of a set share.

    `geometry` is HEIGHTxWIDTHxFRAMES@FPS and `fps` its exact rate; `codecs` maps video, audio and text to the identity
    (sha256) of the codec that encoded them and `codec_configs` to its recipe section; `null_text` (batch 1) is the
    encoded empty caption; `mask_channels` the channels of the first-frame mask.
    """

    name: str
    split: str
    geometry: str
    fps: float
    codecs: Mapping[str, str]
    codec_configs: Mapping[str, Mapping[str, Any]]
    null_text: Text
    mask_channels: int

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
        batch = self.null_text.embedding.shape[0]
        if batch != 1:
            raise DataError(f"data: the null text of set {shown(self.name)} has batch {batch}, not 1")

    @property
    def seconds(self) -> float:
        """Duration of every clip of the set: frames / fps."""
        match = _GEOMETRY.fullmatch(self.geometry)
        assert match is not None
        return int(match[1]) / self.fps
