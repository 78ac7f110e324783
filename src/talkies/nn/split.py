"""The seam at which a sequence of tokens is shared out among devices: where a tower embeds and where it ends."""

from typing import Protocol

from torch import Tensor

from talkies.nn.rope import Rope


class Split(Protocol):
    """How a tower's tokens are kept. Everything between `tokens` and `whole` sees the part that this process holds;
    attention over tokens sees all of them, by its `attend`."""

    def tokens(self, x: Tensor) -> Tensor:
        """All tokens [B, T, d] -> the held ones [B, T', d]."""

    def rope(self, rope: Rope) -> Rope:
        """Turns of all tokens [T, ...] -> of the held ones [T', ...]."""

    def mask(self, mask: Tensor | None, tokens: Tensor) -> Tensor | None:
        """Key mask [B, 1, 1, T] (None: all are keys) for all `tokens` [B, T, d] -> the one that `attend` takes."""

    def whole(self, x: Tensor, count: int) -> Tensor:
        """Held values [B, T', d] -> those of all `count` tokens [B, T, d]."""


class Undivided:
    """Every token is here: the split of a single process."""

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
