"""What trains, at which rate."""

import math
from typing import Any

from torch import nn

from talkies.models.build import component_of
from talkies.training.config import OptimizerConfig


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """AdamW groups of the parameters that require gradients: towers and Bridge, with and without weight decay.

    Matrices decay; vectors (biases, norms) and modulations do not: the report is silent, this is the usual choice.
    Each group carries its `peak` rate.
    """
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = "bridge" if component_of(name) == "bridge" else "towers"
        decays = parameter.ndim >= 2 and not name.endswith("modulation")
        peak = config.lr.bridge if part == "bridge" else config.lr.towers
        decay = config.weight_decay if decays else 0.0
        group = groups.setdefault(
            (part, decays), {"params": [], "names": [], "part": part, "peak": peak, "lr": peak, "weight_decay": decay}
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Factor on the peak rate at optimizer step `step` of `steps`: linear warm-up, then the schedule."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    progress = (step - config.warmup) / max(1, steps - config.warmup)
    if config.schedule == "constant" or progress <= 0:
        return warm
    if config.schedule == "cosine":
        return warm * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return warm * min(1.0, max(0.0, (1.0 - progress) / config.decay))
