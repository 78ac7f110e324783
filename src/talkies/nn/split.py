"""The interface of sequence parallelism: a tower's tokens are split after embedding and gathered at its output. Of
streams that attend together, small ones may stay whole in every process."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from talkies.nn.rope import Rope


class Split(Protocol):
    """How a tower's tokens are distributed. From `tokens` to `whole`, layers see only the tokens of this process;
    attention over tokens sees all of them through its `attend`."""

    def tokens(self, x: Tensor) -> Tensor:
        """All tokens [B, T, d] -> those of this process [B, T', d]."""

    def rope(self, rope: Rope) -> Rope:
        """Rotations of all tokens ([T, heads, d, 2], or by sample) -> of those of this process."""

    def mask(self, mask: Tensor | None, tokens: Tensor) -> Tensor | None:
        """Key mask [B, 1, 1, T] (None: no padding) of all `tokens` [B, T, d] -> the mask that `attend` takes."""

    def joined(self, masks: Sequence[Tensor | None], counts: Sequence[int], whole: int = 0) -> Tensor | None:
        """Key masks of several streams, each as returned by `mask`, whose tokens of this process (`counts` of each)
        were joined in this order -> the mask that `attend` takes for the joined sequence; None if nothing is masked.
        The last `whole` streams are not split: `masks` has their key masks as they are."""

    def first(self, count: int) -> int:
        """The place of this process's first token among all `count`."""

    def whole(self, x: Tensor, count: int) -> Tensor:
        """Values of this process's tokens [B, T', d] -> those of all `count` tokens [B, T, d]."""


class Undivided:
    """No split: a single process holds every token."""

    def tokens(self, x: Tensor) -> Tensor:
        """x"""
        return x

    def rope(self, rope: Rope) -> Rope:
        """rope"""
        return rope

    def mask(self, mask: Tensor | None, tokens: Tensor) -> Tensor | None:
        """mask"""
        del tokens
        return mask

    def joined(self, masks: Sequence[Tensor | None], counts: Sequence[int], whole: int = 0) -> Tensor | None:
        """The masks in a row."""
        del whole
        return joined_masks(masks, counts, 1)

    def first(self, count: int) -> int:
        """0"""
        del count
        return 0

    def whole(self, x: Tensor, count: int) -> Tensor:
        """x"""
        assert x.shape[1] == count
        return x


UNDIVIDED = Undivided()


def joined_masks(masks: Sequence[Tensor | None], counts: Sequence[int], processes: int) -> Tensor | None:
    """Masks [B, 1, 1, processes * count] (None: no masked key) of streams of which each process holds `counts` tokens
    -> [B, 1, 1, processes * sum of counts], process by process; None if nothing is masked."""
    given = next((mask for mask in masks if mask is not None), None)
    if given is None:
        return None
    parts = []
    for mask, count in zip(masks, counts, strict=True):
        whole = given.new_ones(given.shape[0], 1, 1, processes * count) if mask is None else mask
        parts.append(torch.unflatten(whole, -1, (processes, count)))
    return torch.cat(parts, -1).flatten(-2)
