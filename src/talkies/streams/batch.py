"""What a loader yields (Batch) and what a network takes (Stream, Condition)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from talkies.streams.grid import Grid, Modality


@dataclass(frozen=True, kw_only=True)
class Text:
    """Text features of a frozen encoder: `embedding` [B, L, D] fp32, zero past `length` [B] int64."""

    embedding: Tensor
    length: Tensor

    def to(self, device: torch.device | str) -> "Text":
        """The same on `device`."""
        return Text(embedding=self.embedding.to(device), length=self.length.to(device))

    def where(self, keep: Tensor, other: "Text") -> "Text":
        """Per sample: self where `keep` [B] bool, else `other` (batch 1 or B, same L and D)."""
        return Text(
            embedding=torch.where(keep[:, None, None], self.embedding, other.embedding),
            length=torch.where(keep, self.length, other.length),
        )


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A clip that could not be read: its id, its file, the reason, and the id of the clip in its place."""

    id: str
    shard: str
    reason: str
    substitute: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Encoded clips of one geometry.

    `padded` names the modalities in which some sample has padding (on the host, so that no step syncs with the device).
    `latents[m]` [B, C, *shape] fp32; `masks[m]` [B, T] bool, False where a latent step holds padding; `grids[m]` their
    geometry; `image` [B, C, T, H, W] the latent of (first frame, then mid-grey frames), None without video;
    `text` the encoded captions and `null_text` (batch 1) the encoded empty caption; `ids` and `visits` give
    each sample's name and how often it was seen before: with the seed they determine its noise, times and dropout.
    `replaced` lists the clips that were due but could not be read.
    """

    ids: tuple[str, ...]
    visits: tuple[int, ...]
    captions: tuple[str, ...]
    latents: Mapping[Modality, Tensor]
    masks: Mapping[Modality, Tensor]
    padded: frozenset[Modality]
    grids: Mapping[Modality, Grid]
    image: Tensor | None
    text: Text
    null_text: Text
    replaced: tuple[Replaced, ...] = ()

    def to(self, device: torch.device | str) -> "Batch":
        """The same on `device`."""
        return replace(
            self,
            latents={m: x.to(device) for m, x in self.latents.items()},
            masks={m: x.to(device) for m, x in self.masks.items()},
            image=None if self.image is None else self.image.to(device),
            text=self.text.to(device),
            null_text=self.null_text.to(device),
        )


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One modality as a network takes it.

    `latent` [B, C, *grid.shape] at noise level `time` [B] in [0, 1] (1 is noise); `condition` [B, K, *grid.shape] is
    concatenated to the latent's channels; `mask` [B, T] bool is False where a step is padding (None: all valid).
    """

    latent: Tensor
    time: Tensor
    grid: Grid
    condition: Tensor | None = None
    mask: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Condition:
    """The inputs of a denoiser besides the noisy streams.

    `expert`: index of the video expert (0 high-noise, 1 low-noise); `coupled`: whether the modalities may see each
    other (False switches the Bridge off: the null branch of dual guidance, MOVA, section 5.1).
    """

    text: Text
    expert: int = 0
    coupled: bool = True


class Denoiser(Protocol):
    """Noisy streams and a condition in, one velocity (noise - data) per stream out, shaped like its latent."""

    def __call__(self, streams: Mapping[Modality, Stream], condition: Condition) -> dict[Modality, Tensor]: ...
