"""Rectified flow between data (t = 0) and noise (t = 1): path, target, loss, experts (docs/mova.md: Objective)."""

import torch
from torch import Tensor

from talkies.flow.schedule import unshift


def interpolate(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """(1 - t) x0 + t noise in fp32. x0 and noise [B, ...], t [B]; t = 0 gives x0 and t = 1 the noise, exactly."""
    level = t.float().view(-1, *[1] * (x0.ndim - 1))
    return (1 - level) * x0.float() + level * noise.float()


def velocity(x0: Tensor, noise: Tensor) -> Tensor:
    """The regression target d x_t / dt = noise - x0, fp32."""
    return noise.float() - x0.float()


def per_sample_loss(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error per sample over its valid latent steps, [B] fp32 (fp64 for an fp64 prediction).

    pred and target [B, C, T, ...]; mask [B, T] bool, False where a step is padding. Values in padding, NaN included,
    affect neither the loss nor the gradient. A sample without a valid step gives 0.
    """
    assert pred.shape == target.shape, f"prediction {tuple(pred.shape)}, target {tuple(target.shape)}"
    assert mask.shape == (pred.shape[0], pred.shape[2]), f"mask {tuple(mask.shape)} for latents {tuple(pred.shape)}"
    valid = mask.view(mask.shape[0], 1, mask.shape[1], *[1] * (pred.ndim - 3))
    wide = torch.promote_types(pred.dtype, torch.float32)
    error = torch.where(valid, pred.to(wide) - target.to(wide), 0.0)
    per_step = error.square().mean(dim=[d for d in range(pred.ndim) if d not in (0, 2)])
    return per_step.sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def expert_at(sigma: float, boundary: float) -> int:
    """The video expert of a noise level: 0 (high noise) while sigma >= boundary, else 1 (the switch is strict)."""
    return 0 if sigma >= boundary else 1


def expert_range(expert: int, boundary: float, shift: float) -> tuple[float, float]:
    """The u in [low, high) whose shifted levels belong to `expert`: [u_b, 1) or [0, u_b), where shift(u_b) = boundary.

    Raises ValueError if `boundary` leaves an expert without noise levels.
    """
    assert expert in (0, 1), f"expert {expert}: there are two"
    if not 0 < boundary < 1:
        raise ValueError(f"expert boundary {boundary}: it must lie between 0 and 1, both excluded")
    edge = unshift(boundary, shift)
    return (edge, 1.0) if expert == 0 else (0.0, edge)
