"""Embedding of the noise level."""

import torch
from torch import Tensor, nn

from talkies.nn.precision import Linear32

MAX_PERIOD = 10000.0


def sinusoid(time: Tensor, dim: int) -> Tensor:
    """time [...] -> [..., dim] fp64: [cos | sin] of time * 10000^(-i / half)."""
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float64, device=time.device) / half
    angle = time.double().unsqueeze(-1) * MAX_PERIOD**-exponents
    return torch.cat((angle.cos(), angle.sin()), -1)


def time_embedding(freq_dim: int, dim: int) -> nn.Sequential:
    """[..., freq_dim] -> [..., dim], fp32."""
    return nn.Sequential(Linear32(freq_dim, dim), nn.SiLU(), Linear32(dim, dim))


def time_projection(dim: int) -> nn.Sequential:
    """[B, dim] -> [B, 6 dim], fp32: the six modulation vectors that all blocks share."""
    return nn.Sequential(nn.SiLU(), Linear32(dim, 6 * dim))
