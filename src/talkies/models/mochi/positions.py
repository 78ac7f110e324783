"""Where tokens lie: Mochi's units, in which a latent step of the video is 1 and a frame covers 192 x 192."""

from fractions import Fraction
from functools import lru_cache
from math import sqrt
from typing import Literal

import torch
from torch import Tensor

from talkies.nn.rope import token_times
from talkies.streams import Grid

AREA = 192 * 192


def pace(grid: Grid) -> Fraction:
    """Latent steps per second, on average over the chunks of a codec that encodes in chunks."""
    return grid.rate if grid.chunk is None else grid.chunk[0] / grid.chunk[1]


@lru_cache(maxsize=64)
def positions(
    grid: Grid, patch: tuple[int, ...], unit: Fraction, by: Literal["index", "seconds"], device: torch.device
) -> Tensor:
    """[1, T, axes] fp32, tokens row-major: time, counted in tokens or in seconds times `unit`; for video, rows and
    columns too, as centres of equal cells of a frame of area AREA around 0."""
    steps, *space = grid.token_shape(patch)
    times = token_times(grid, patch, unit) if by == "seconds" else [float(step) for step in range(steps)]
    with torch.inference_mode(False):
        axes = [torch.tensor(times, dtype=torch.float64)]
        side = sqrt(AREA / (space[0] * space[1])) if space else 1.0
        axes += [(torch.arange(size, dtype=torch.float64) + 0.5 - size / 2) * side for size in space]
        cells = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
        return cells.flatten(0, -2).unsqueeze(0).float().to(device)


def begun(positions: Tensor, start: Tensor | None, unit: Fraction) -> Tensor:
    """positions [1, T, axes] of a stream that begins at `start` [B] seconds (None: 0) -> [B or 1, T, axes]."""
    if start is None:
        return positions
    later = torch.zeros_like(positions[:, :1]).repeat(start.shape[0], 1, 1)
    later[:, 0, 0] = start * float(unit)
    return positions + later
