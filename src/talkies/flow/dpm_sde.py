"""DPM-Solver++(2M) of the SDE (arXiv 2211.01095, algorithm 2 with the noise of its appendix; CogVideoX's sampler).

With lambda = log(alpha / sigma), which grows by h over a step, and the data D that the network predicts there:
x' = sigma' / sigma exp(-h) x + alpha' (1 - exp(-2 h)) D + sigma' sqrt(1 - exp(-2 h)) noise. D is extrapolated from the
step before to the middle of the step; not at the first step, which has none before, nor at the last, which ends at the
data.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from talkies.flow.config import TargetConfig
from talkies.flow.target import parts_of, rotation


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The `data` that a network predicted at noise `level`."""

    data: Tensor
    level: float


def second_order(
    target: TargetConfig,
    x: Tensor,
    predicted: Tensor,
    gap: tuple[float, float],
    before: Estimate | None,
    *,
    noise: Tensor | None,
) -> tuple[Tensor, Estimate]:
    """The latent `x` at the first level of `gap`, for which the network predicts `predicted`, one step on at the
    second, and the estimate of this step. `before`: that of the step before; `noise`: N(0, 1) of the shape of x, which
    a step that ends at level 0 does not need."""
    level, following = gap
    t = torch.full((x.shape[0],), level, dtype=torch.float32, device=x.device)
    now = Estimate(data=parts_of(target, x, predicted, t)[0], level=level)
    here, there = (_Weights.at(target, one) for one in gap)
    growth = there.half_log_snr - here.half_log_snr
    data, replaced = now.data, -math.expm1(-2 * growth)
    if before is not None and following > 0:
        ratio = (here.half_log_snr - _Weights.at(target, before.level).half_log_snr) / growth
        data = data + (data - before.data) / (2 * ratio)
    mean = there.sigma / here.sigma * math.exp(-growth) * x + there.alpha * replaced * data
    if following == 0:
        return mean, now
    assert noise is not None, "this step adds noise"
    return mean + there.sigma * math.sqrt(replaced) * noise, now


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """Of the data and of the noise at one level; log(alpha / sigma): minus infinity for noise, infinity for data."""

    alpha: float
    sigma: float
    half_log_snr: float

    @classmethod
    def at(cls, target: TargetConfig, level: float) -> "_Weights":
        alpha, sigma = rotation(target, torch.tensor(level, dtype=torch.float64))
        return cls(alpha=float(alpha), sigma=float(sigma), half_log_snr=float((alpha / sigma).log()))
