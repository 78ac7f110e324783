"""Latents to tokens and back, for any number of axes."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.nn.precision import lowered
from talkies.streams import Grid


def patchify(x: Tensor, patch: Sequence[int]) -> Tensor:
    """[B, C, *shape] -> [B, T, C * prod(patch)]: tokens row-major, channel slowest within a token (a conv's order).

    `patch` must divide the shape.
    """
    n = len(patch)
    split = [size for extent, p in zip(x.shape[2:], patch, strict=True) for size in (extent // p, p)]
    order = (0, *range(2, 2 * n + 2, 2), 1, *range(3, 2 * n + 3, 2))
    return x.reshape(*x.shape[:2], *split).permute(order).flatten(n + 1).flatten(1, n)


def unpatchify(x: Tensor, shape: Sequence[int], patch: Sequence[int], *, channel_slowest: bool = False) -> Tensor:
    """[B, T, prod(patch) * C], channel fastest within a token (as upstream) or slowest (the order of `patchify`)
    -> [B, C, *(shape * patch)]; `shape` in tokens."""
    n = len(patch)
    channel, first = (n + 1, n + 2) if channel_slowest else (2 * n + 1, n + 1)
    x = x.reshape(x.shape[0], *shape, *((-1, *patch) if channel_slowest else (*patch, -1)))
    order = (0, channel, *(axis for i in range(n) for axis in (1 + i, first + i)))
    return x.permute(order).reshape(x.shape[0], -1, *(s * p for s, p in zip(shape, patch, strict=True)))


def key_mask(mask: Tensor, grid: Grid, patch: tuple[int, ...]) -> Tensor:
    """mask [B, latent steps] bool -> [B, 1, 1, T]: a token is a key if any of its latent steps is valid."""
    steps, *space = grid.token_shape(patch)
    valid = torch.unflatten(mask, 1, (steps, patch[0])).any(-1)
    for size in space:
        valid = valid.repeat_interleave(size, 1)
    return valid[:, None, None, :]


class PatchEmbedding(nn.Module):
    """A convolution whose kernel size equals its stride, as one matmul, with the convolution's parameters. `framewise`:
    it is one over frames, whose kernel has no axis for time, of which `patch` folds a single step."""

    def __init__(self, channels: int, dim: int, patch: tuple[int, ...], *, framewise: bool = False) -> None:
        super().__init__()
        assert not framewise or patch[0] == 1, patch
        self.patch = patch
        self.weight = nn.Parameter(torch.empty(dim, channels, *(patch[1:] if framewise else patch)))
        self.bias = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """torch's default for convolutions: uniform within 1 / sqrt(fan in)."""
        bound = math.prod(self.weight.shape[1:]) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, *shape] -> [B, T, dim] in the matmuls' dtype."""
        return F.linear(lowered(patchify(x, self.patch), self), self.weight.flatten(1), self.bias)
