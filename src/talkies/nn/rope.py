"""Rotary position embeddings as plain functions over positions that come from a Grid.

Angles are computed in fp64, the turns kept and applied in fp32. Turns are complex, so that nothing that lowers floating
point tensors (a mixed-precision policy, `module.bfloat16()`) can lower them.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from talkies.nn.precision import widened
from talkies.streams import Grid

THETA = 10000.0

Rate = float | Fraction


@dataclass(frozen=True, kw_only=True)
class Rope:
    """One turn per token and pair of dimensions: `turns` [T, 1, head_dim / 2] complex64.

    `halves` False pairs dimensions (2j, 2j + 1), as the towers do; True pairs (j, j + head_dim / 2), as the Bridge.
    """

    turns: Tensor
    halves: bool


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """Turn every pair of dimensions of `x` [B, T, heads, head_dim] by its token's angle; fp32."""
    x = widened(x)
    if not rope.halves:
        pairs = torch.view_as_complex(torch.unflatten(x, -1, (-1, 2)))
        return torch.view_as_real(pairs * rope.turns).flatten(-2)
    cos, sin = rope.turns.real, rope.turns.imag
    swapped = x.roll(x.shape[-1] // 2, -1)
    return x * torch.cat((cos, cos), -1) + swapped * torch.cat((-sin, sin), -1)


def axis_dims(head_dim: int, axes: int) -> tuple[int, ...]:
    """How many of `head_dim` dimensions each axis turns: all for one, d - 2 (d // 3), d // 3, d // 3 for three.

    Raises ValueError where an axis would get an odd number (MOVA sections 3 and 4).
    """
    assert axes in (1, 3), axes
    third = head_dim // 3
    dims = (head_dim,) if axes == 1 else (head_dim - 2 * third, third, third)
    if any(dim % 2 for dim in dims) or min(dims) < 2:
        raise ValueError(
            f"head_dim {head_dim} gives RoPE axes of {dims} dimensions: each must be even; head_dim 24 and 128 work"
        )
    return dims


def angles(positions: Tensor, dim: int) -> Tensor:
    """positions [N] -> [N, dim / 2] fp64: position * 10000^(-2j / dim), the axis' own normaliser."""
    exponents = torch.arange(0, dim, 2, dtype=torch.float64, device=positions.device) / dim
    return positions.double()[:, None] * THETA**-exponents


def token_times(grid: Grid, patch: tuple[int, ...], rate: Rate) -> list[float]:
    """Start of every token along the time axis, in units of 1 / `rate` seconds."""
    steps = grid.token_shape(patch)[0]
    return [float(grid.seconds(index * patch[0]) * Fraction(rate)) for index in range(steps)]


@lru_cache(maxsize=32)
def tower_rope(grid: Grid, patch: tuple[int, ...], head_dim: int, rate: Rate, device: torch.device) -> Rope:
    """A tower's own RoPE over time and, for video, height and width in tokens; interleaved (MOVA sections 3 and 4).

    `rate` is in time positions per second. Tokens in row-major order.
    """
    shape = grid.token_shape(patch)
    with torch.inference_mode(False):
        ranges = [torch.tensor(token_times(grid, patch, rate), dtype=torch.float64)]
        ranges += [torch.arange(size, dtype=torch.float64) for size in shape[1:]]
        grids = torch.meshgrid(*ranges, indexing="ij")
        dims = axis_dims(head_dim, len(shape))
        parts = [angles(axis.flatten(), dim) for axis, dim in zip(grids, dims, strict=True)]
        return Rope(turns=_turns(torch.cat(parts, -1), device), halves=False)


@lru_cache(maxsize=32)
def aligned_rope(grid: Grid, patch: tuple[int, ...], head_dim: int, rate: Rate, device: torch.device) -> Rope:
    """The Bridge's RoPE: every token at its start time, `rate` positions per second, wherever it lies in space;
    half-split (MOVA section 5)."""
    space = prod(grid.token_shape(patch)[1:])
    with torch.inference_mode(False):
        times = torch.tensor(token_times(grid, patch, rate), dtype=torch.float64)
        return Rope(turns=_turns(angles(times.repeat_interleave(space), head_dim), device), halves=True)


def _turns(angle: Tensor, device: torch.device) -> Tensor:
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64).unsqueeze(1).to(device)
