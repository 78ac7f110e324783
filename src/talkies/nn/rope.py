"""Rotary position embeddings as plain functions of positions that come from a Grid.

Angles are computed in fp64; rotations are kept and applied in fp32, also in a bf16 run. They are arguments, not
buffers: `module.bfloat16()` does not cast them, and no mixed-precision policy here casts arguments.
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
    """One rotation per token and pair of dimensions, for all heads or for each: `rotations` [T, 1 or heads,
    head_dim / 2, 2] fp32, cosine and sine, or by sample [B, T, ...]; computed from positions or, with gradients, from
    learned angles.

    `halves` False pairs dimensions (2j, 2j + 1), as in the towers; True pairs (j, j + head_dim / 2), as in the Bridge.
    """

    rotations: Tensor
    halves: bool

    def to(self, device: torch.device) -> "Rope":
        """The same on `device`."""
        return Rope(rotations=self.rotations.to(device), halves=self.halves)


def rope_of(angle: Tensor, *, halves: bool) -> Rope:
    """Rotations by `angle` [T, head_dim / 2], by head [T, heads, head_dim / 2], or by sample and head [B, T, ...]."""
    by_head = angle.unsqueeze(1) if angle.ndim == 2 else angle
    return Rope(rotations=torch.stack((by_head.cos(), by_head.sin()), -1).float(), halves=halves)


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """Rotate every pair of dimensions of `x` [B, T, heads, head_dim] by its token's angle; fp32."""
    x, (cos, sin) = widened(x), rope.rotations.unbind(-1)
    if rope.halves:
        swapped = x.roll(x.shape[-1] // 2, -1)
        return x * torch.cat((cos, cos), -1) + swapped * torch.cat((-sin, sin), -1)
    pairs = torch.unflatten(x, -1, (-1, 2))
    if torch.compiler.is_compiling():  # Inductor fuses no complex arithmetic
        a, b = pairs.unbind(-1)
        return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
    # One kernel: unfused, the arithmetic above takes a CPU four times as long.
    return torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rope.rotations)).flatten(-2)


def axis_dims(head_dim: int, axes: int) -> tuple[int, ...]:
    """How many of `head_dim` dimensions each axis rotates: all for one axis; d - 2 (d // 3), d // 3, d // 3 for three.

    Raises ValueError if an axis would get an odd number. Source: the released code (docs/mova.md: Towers).
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
    """positions [N] -> [N, dim / 2] fp64: position * 10000^(-2j / dim), with `dim` the axis's dimensions."""
    exponents = torch.arange(0, dim, 2, dtype=torch.float64, device=positions.device) / dim
    return positions.double()[:, None] * THETA**-exponents


def token_times(grid: Grid, patch: tuple[int, ...], rate: Rate) -> list[float]:
    """Start of every token along the time axis, in units of 1 / `rate` seconds."""
    steps = grid.token_shape(patch)[0]
    return [float(grid.seconds(index * patch[0]) * Fraction(rate)) for index in range(steps)]


@lru_cache(maxsize=32)
def tower_rope(grid: Grid, patch: tuple[int, ...], head_dim: int, rate: Rate, device: torch.device) -> Rope:
    """A tower's RoPE over time and, for video, height and width in tokens; interleaved (docs/mova.md: Towers).

    `rate` is in positions per second. Tokens are in row-major order.
    """
    shape = grid.token_shape(patch)
    with torch.inference_mode(False):
        ranges = [torch.tensor(token_times(grid, patch, rate), dtype=torch.float64)]
        ranges += [torch.arange(size, dtype=torch.float64) for size in shape[1:]]
        grids = torch.meshgrid(*ranges, indexing="ij")
        dims = axis_dims(head_dim, len(shape))
        parts = [angles(axis.flatten(), dim) for axis, dim in zip(grids, dims, strict=True)]
        return rope_of(torch.cat(parts, -1), halves=False).to(device)


@lru_cache(maxsize=32)
def aligned_rope(grid: Grid, patch: tuple[int, ...], head_dim: int, rate: Rate, device: torch.device) -> Rope:
    """The Bridge's RoPE: every token at its start time, `rate` positions per second, whatever its place in the frame
    (MOVA, section 2.2); half-split (released code)."""
    space = prod(grid.token_shape(patch)[1:])
    with torch.inference_mode(False):
        times = torch.tensor(token_times(grid, patch, rate), dtype=torch.float64)
        return rope_of(angles(times.repeat_interleave(space), head_dim), halves=True).to(device)
