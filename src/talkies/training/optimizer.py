"""AdamW for alternating experts: parameter groups and the learning-rate schedule."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from talkies.models.build import component_of
from talkies.parallel.sharding import shape_of
from talkies.training.config import OptimizerConfig

EXPERTS = {"video_high": 0, "video_low": 1}
"""Component -> its expert; all other components train in every step."""


class Alternating(torch.optim.Optimizer):
    """Does not step groups that are `inactive`.

    Under DDP and FSDP2 an inactive expert has no gradients, and any optimizer would skip it. DeepSpeed passes zeros:
    momentum and weight decay would move the expert.
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step the active groups. `closure` clears the gradients of all groups."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        all_groups = self.param_groups
        self.param_groups = [group for group in all_groups if not group["inactive"]]
        try:
            super().step()
        finally:
            self.param_groups = all_groups
        return loss


class AlternatingAdamW(Alternating, torch.optim.AdamW):
    """AdamW for experts that alternate."""


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """AdamW groups of the parameters that require gradients: towers (each expert its own) and Bridge, with and without
    weight decay.

    Matrices decay; vectors (biases, norms) and modulations do not: the MOVA paper does not say, this is the usual
    choice. Each group has its `peak` rate and its `expert` (None: it is never inactive).
    """
    groups: dict[tuple[str, int | None, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        component = component_of(name)
        part, expert = "bridge" if component == "bridge" else "towers", EXPERTS.get(component)
        decays = len(shape_of(parameter)) >= 2 and not name.endswith("modulation")
        peak = config.lr.bridge if part == "bridge" else config.lr.towers
        decay = config.weight_decay if decays else 0.0
        empty: dict[str, Any] = {"params": [], "names": [], "expert": expert, "inactive": False}
        group = groups.setdefault((part, expert, decays), {**empty, "peak": peak, "lr": peak, "weight_decay": decay})
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """The factor on the peak rate at optimizer step `step` of `steps`: linear warm-up, then the schedule."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    progress = (step - config.warmup) / max(1, steps - config.warmup)
    if config.schedule == "constant" or progress <= 0:
        return warm
    if config.schedule == "cosine":
        return warm * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return warm * min(1.0, max(0.0, (1.0 - progress) / config.decay))
