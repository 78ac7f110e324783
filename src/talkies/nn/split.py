"""The interface of sequence parallelism: a tower's tokens are split after embedding and gathered at its output."""

from typing import Protocol

from torch import Tensor

from talkies.nn.rope import Rope


class Split(Protocol):
    """How a tower's tokens are distributed. From `tokens` to `whole`, layers see only the tokens of this process;
    attention over tokens sees all of them through its `attend`."""

    def tokens(self, x: Tensor) -> Tensor:
        """All tokens [B, T, d] -> those of this process [B, T', d]."""

    def rope(self, rope: Rope) -> Rope:
        """Rotations of all tokens [T, ...] -> of those of this process [T', ...]."""

    def mask(self, mask: Tensor | None, tokens: Tensor) -> Tensor | None:
        """Key mask [B, 1, 1, T] (None: no padding) of all `tokens` [B, T, d] -> the mask that `attend` takes."""

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

    def whole(self, x: Tensor, count: int) -> Tensor:
        """x"""
        assert x.shape[1] == count
        return x


UNDIVIDED = Undivided()
