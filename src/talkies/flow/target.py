"""Paths between data (t = 0) and noise (t = 1), and what a network predicts on them. fp32.

A level is one per sample [B] or one per latent step [B, T].
"""

import math

from torch import Tensor

from talkies.flow.config import TargetConfig


def widened_level(t: Tensor, x: Tensor) -> Tensor:
    """`t` [B] or [B, T] fp32, shaped to multiply x [B, C, T, ...]."""
    level = t.float()
    shape = (-1, *[1] * (x.ndim - 1)) if t.ndim == 1 else (t.shape[0], 1, t.shape[1], *[1] * (x.ndim - 3))
    return level.view(shape)


def interpolate(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """(1 - t) x0 + t noise. x0 and noise [B, C, T, ...]; t = 0 gives x0 and t = 1 the noise, exactly."""
    level = widened_level(t, x0)
    return (1 - level) * x0.float() + level * noise.float()


def velocity(x0: Tensor, noise: Tensor) -> Tensor:
    """The regression target d x_t / dt = noise - x0."""
    return noise.float() - x0.float()


def alpha_sigma(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """cos(pi t / 2) and sin(pi t / 2), shaped to multiply x; exact at t = 0 and t = 1."""
    level = widened_level(t, x).double()
    alpha = (math.pi / 2 * level).cos().where(level < 1, 0.0)
    return alpha.float(), (math.pi / 2 * level).sin().float()


def noisy(config: TargetConfig, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The latent at level `t` of the path."""
    if config.kind == "velocity":
        return interpolate(x0, noise, t)
    alpha, sigma = alpha_sigma(t, x0)
    return alpha * x0.float() + sigma * noise.float()


def target_of(config: TargetConfig, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the network should predict at level `t`."""
    if config.kind == "velocity":
        return velocity(x0, noise)
    alpha, sigma = alpha_sigma(t, x0)
    return alpha * noise.float() - sigma * x0.float()
