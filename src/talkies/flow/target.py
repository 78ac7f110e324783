"""Paths between data (t = 0) and noise (t = 1), and what a network predicts on them. fp32.

A level is one per sample [B] or one per latent step [B, T].
"""

import math

from torch import Tensor

from talkies.flow.config import TargetConfig
from talkies.flow.zero_snr import alpha_at


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


def rotation(config: TargetConfig, level: Tensor) -> tuple[Tensor, Tensor]:
    """The weights alpha of the data and sigma of the noise on a path of v-prediction, alpha^2 + sigma^2 = 1, at fp64
    levels; exact at 0 and 1."""
    assert config.kind != "velocity", "a velocity is not on a circle"
    if config.kind == "zero_snr_v_prediction":
        alpha = alpha_at(config, level)
        return alpha, (1 - alpha * alpha).sqrt()
    return (math.pi / 2 * level).cos().where(level < 1, 0.0), (math.pi / 2 * level).sin()


def alpha_sigma(config: TargetConfig, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """`rotation` at level `t` in fp32, shaped to multiply x."""
    alpha, sigma = rotation(config, widened_level(t, x).double())
    return alpha.float(), sigma.float()


def noisy(config: TargetConfig, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The latent at level `t` of the path."""
    if config.kind == "velocity":
        return interpolate(x0, noise, t)
    alpha, sigma = alpha_sigma(config, t, x0)
    return alpha * x0.float() + sigma * noise.float()


def target_of(config: TargetConfig, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the network should predict at level `t`."""
    if config.kind == "velocity":
        return velocity(x0, noise)
    alpha, sigma = alpha_sigma(config, t, x0)
    return alpha * noise.float() - sigma * x0.float()


def parts_of(config: TargetConfig, x: Tensor, v: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The data and the noise of a latent `x` at level `t` of which a network predicts `v`."""
    alpha, sigma = alpha_sigma(config, t, x)
    return alpha * x - sigma * v, sigma * x + alpha * v
