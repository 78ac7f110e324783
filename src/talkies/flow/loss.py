"""The loss of one stream: squared error per sample, weighted by noise level. fp32."""

import math

import torch
from torch import Tensor

from talkies.flow.config import WeightingConfig


def weight_of(config: WeightingConfig, t: Tensor) -> Tensor | None:
    """The weight of level `t` [B] or [B, T], of the same shape; None if all weights are 1."""
    if config.kind == "uniform":
        return None
    return 2 / (math.pi * (1 - 2 * t + 2 * t * t))


def per_sample_loss(pred: Tensor, target: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error per sample over its valid latent steps, [B] fp32 (fp64 for an fp64 prediction).

    pred and target [B, C, T, ...]; mask [B, T] bool, False where a step is padding; weight [B] or [B, T] (None: 1).
    Values in padding, NaN included, affect neither the loss nor the gradient. A sample without a valid step gives 0.
    """
    assert pred.shape == target.shape, f"prediction {tuple(pred.shape)}, target {tuple(target.shape)}"
    assert mask.shape == (pred.shape[0], pred.shape[2]), f"mask {tuple(mask.shape)} for latents {tuple(pred.shape)}"
    valid = mask.view(mask.shape[0], 1, mask.shape[1], *[1] * (pred.ndim - 3))
    wide = torch.promote_types(pred.dtype, torch.float32)
    error = torch.where(valid, pred.to(wide) - target.to(wide), 0.0)
    per_step = error.square().mean(dim=[d for d in range(pred.ndim) if d not in (0, 2)])
    if weight is not None:
        per_step = per_step * weight.view(weight.shape[0], -1)
    return per_step.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
