"""Rotary positions whose frequencies are learned, for every head and every axis (arXiv 2403.13298: RoPE-Mixed)."""

from functools import reduce
from operator import add

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.nn.precision import widened

LOWEST = 0.01
"""Of the frequencies at first, in radians per unit of position; the highest is 1."""


class LearnedRope(nn.Module):
    """One table `frequencies` [axes, heads, head_dim / 2] for a whole network. At first every pair of dimensions turns
    with the position along one direction, random for each head, at LOWEST to 1 radian per unit; or, `zero`, not at all,
    for a table that is added to another."""

    def __init__(self, axes: int, heads: int, head_dim: int, *, zero: bool = False) -> None:
        super().__init__()
        self.zero = zero
        self.frequencies = nn.Parameter(torch.empty(axes, heads, head_dim // 2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Redraw `frequencies`."""
        if self.zero:
            nn.init.zeros_(self.frequencies)
            return
        table = self.frequencies
        with torch.no_grad():
            steps = torch.linspace(0, 1, table.shape[-1], device=table.device)
            table.copy_(F.normalize(torch.randn_like(table), dim=0) * LOWEST**steps)

    def forward(self, positions: Tensor) -> Tensor:
        """positions [1 or B, T, axes] -> angles [1 or B, T, heads, head_dim / 2] fp32. Nothing that autocast lowers."""
        pairs = zip(positions.unbind(-1), widened(self.frequencies).unbind(0), strict=True)
        return reduce(add, (position[..., None, None] * frequency for position, frequency in pairs))
