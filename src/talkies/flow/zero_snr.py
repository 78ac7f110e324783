"""The path of CogVideoX: a discrete diffusion whose last timestep is noise alone. fp64."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from talkies.flow.config import ZeroSnrVPredictionTarget

NEAR = 1e-3
"""Timesteps by which a level in fp32 may differ from the one that it stands for."""


@cache
def alphas(config: ZeroSnrVPredictionTarget) -> NDArray[np.float64]:
    """sqrt(alpha bar) at the levels 0, 1 / steps ... 1: [steps + 1], from 1 strictly down to 0."""
    betas = np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.steps, dtype=np.float64) ** 2
    bar = np.cumprod(1 - betas)
    root = np.sqrt(bar / (config.snr_shift + (1 - config.snr_shift) * bar))
    scaled = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    return np.concatenate([[1.0], scaled])


def alpha_at(config: ZeroSnrVPredictionTarget, level: Tensor) -> Tensor:
    """sqrt(alpha bar) at fp64 levels in [0, 1], of their shape: exact at timesteps, linear between them."""
    table = torch.from_numpy(alphas(config)).to(level.device)
    place = level * config.steps
    nearest = place.round()
    place = nearest.where((place - nearest).abs() < NEAR, place)
    below = place.floor().clamp(max=config.steps - 1)
    low, high = (table[below.long() + one] for one in (0, 1))
    return low + (place - below) * (high - low)
