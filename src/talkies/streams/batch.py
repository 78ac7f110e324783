"""What a loader yields (Batch) and what a network takes (Stream, Text, Condition)."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from talkies.streams.grid import Grid

T = TypeVar("T")
Role = Literal["target", "condition", "reference", "control"]
"""What a stream is for a network: it is made; it is given, noised or clean; it shows what to resemble; it steers."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One thing that a network reads or makes.

    `latent` [B, C, *grid.shape] at noise level `time` in [0, 1] (0: clean, 1: noise), one per sample [B] or one per
    latent step [B, T]; `condition` [B, K, *grid.shape] is concatenated to the latent's channels; `mask` [B, T] bool is
    False where a step is padding (None: nothing is padded). `start` [B]: seconds by which it begins after the clip,
    negative if before (None: 0).
    """

    latent: Tensor
    time: Tensor
    grid: Grid
    role: Role = "target"
    condition: Tensor | None = None
    mask: Tensor | None = None
    start: Tensor | None = None

    @property
    def width(self) -> int:
        """Channels of the latent."""
        return self.latent.shape[1]

    @property
    def valid(self) -> Tensor:
        """`mask`, also if nothing is padded."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.latent.shape[0], self.grid.shape[0], dtype=torch.bool, device=self.latent.device)

    def repeated(self, count: int) -> "Stream":
        """The same samples `count` times, one batch after another."""

        def times(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.repeat(count, *[1] * (x.ndim - 1))

        return replace(
            self,
            latent=self.latent.repeat(count, *[1] * (self.latent.ndim - 1)),
            time=self.time.repeat(count, *[1] * (self.time.ndim - 1)),
            condition=times(self.condition),
            mask=times(self.mask),
            start=times(self.start),
        )

    def to(self, device: torch.device | str) -> "Stream":
        """The same on `device`."""
        return replace(
            self,
            latent=self.latent.to(device),
            time=self.time.to(device),
            condition=None if self.condition is None else self.condition.to(device),
            mask=None if self.mask is None else self.mask.to(device),
            start=None if self.start is None else self.start.to(device),
        )


class Recall(Protocol):
    """The result of a computation, or the one that an earlier step of a sampler had."""

    def __call__(self, compute: Callable[[], T]) -> T: ...


class Cache(Protocol):
    """The same for any number of computations, told apart by a key."""

    def __call__(self, key: Hashable, compute: Callable[[], T]) -> T: ...


def computed(compute: Callable[[], T]) -> T:
    """The Recall without memory."""
    return compute()


def afresh(key: Hashable, compute: Callable[[], T]) -> T:
    """The Cache without memory."""
    del key
    return compute()


class Memory:
    """The Cache that keeps everything."""

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}

    def __call__(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The first value that `key` had."""
        if key not in self._values:
            self._values[key] = compute()
        value: T = self._values[key]
        return value


@dataclass(frozen=True, kw_only=True)
class Text:
    """Text features of a frozen encoder: `embedding` [B, L, D] fp32, zero past `length` [B] int64. `cache`: for what
    layers compute of these features alone, by layer; the same at every step of a sampler."""

    embedding: Tensor
    length: Tensor
    cache: Cache = afresh

    def to(self, device: torch.device | str) -> "Text":
        """The same on `device`."""
        return Text(embedding=self.embedding.to(device), length=self.length.to(device))

    def where(self, keep: Tensor, other: "Text") -> "Text":
        """Per sample: self where `keep` [B] bool, else `other` (batch 1 or B, same L and D)."""
        return Text(
            embedding=torch.where(keep[:, None, None], self.embedding, other.embedding),
            length=torch.where(keep, self.length, other.length),
        )

    def expand(self, batch: int) -> "Text":
        """A batch of 1, repeated; one of `batch` as it is."""
        if self.embedding.shape[0] == batch:
            return self
        return Text(embedding=self.embedding.expand(batch, -1, -1), length=self.length.expand(batch))

    @classmethod
    def joined(cls, texts: "Sequence[Text]") -> "Text":
        """One batch after another, of the same L and D."""
        embeddings, lengths = [text.embedding for text in texts], [text.length for text in texts]
        return cls(embedding=torch.cat(embeddings), length=torch.cat(lengths))


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

    `ids` and `visits` give each sample's name and how often it was seen before: with the seed they determine its noise,
    times and dropout. `streams`: the clean latents by name, fp32; `texts`: the encoded captions by name, and
    `null_texts` (batch 1) the encoded empty ones; `captions[name][i]` is the text itself. `replaced` lists the clips
    that were due but could not be read.
    """

    ids: tuple[str, ...]
    visits: tuple[int, ...]
    streams: Mapping[str, Stream]
    captions: Mapping[str, tuple[str, ...]]
    texts: Mapping[str, Text]
    null_texts: Mapping[str, Text]
    replaced: tuple[Replaced, ...] = ()

    def to(self, device: torch.device | str) -> "Batch":
        """The same on `device`."""
        return replace(
            self,
            streams={name: stream.to(device) for name, stream in self.streams.items()},
            texts={name: text.to(device) for name, text in self.texts.items()},
            null_texts={name: text.to(device) for name, text in self.null_texts.items()},
        )

    @property
    def grids(self) -> dict[str, Grid]:
        """Geometry by stream."""
        return {name: stream.grid for name, stream in self.streams.items()}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What a denoiser is given besides its streams.

    `texts` by name; `without`: the conditions that this evaluation must not use (guidance names streams and couplings,
    and replaces texts); `inactive`: the parameter groups that take no part in it, by which a network with several
    experts chooses one; `skipped`: the blocks that it passes through; `cache`: what it may reuse of earlier steps
    (None: nothing).
    """

    texts: Mapping[str, Text]
    without: frozenset[str] = frozenset()
    inactive: frozenset[str] = frozenset()
    skipped: frozenset[int] = frozenset()
    cache: Cache | None = None

    def recall(self, *key: Hashable) -> Recall:
        """For the self-attention that `key` names, within this evaluation."""
        return computed if self.cache is None else partial(self.cache, key)


class Denoiser(Protocol):
    """Streams and a condition in; one prediction per target stream out, shaped like its latent."""

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]: ...
