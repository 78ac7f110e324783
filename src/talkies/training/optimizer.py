"""AdamW for parameter groups that take turns, and the learning-rate schedule."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from talkies.models.build import component_of
from talkies.parallel.sharding import shape_of
from talkies.streams.system import Component
from talkies.training.config import OptimizerConfig


class Alternating(torch.optim.Optimizer):
    """Does not step groups that are `inactive`.

    Under DDP and FSDP2 an inactive group has no gradients, and any optimizer would skip it. DeepSpeed passes zeros:
    momentum and weight decay would move its weights.
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
    """AdamW for groups that take turns."""


def parameter_groups(
    model: nn.Module, config: OptimizerConfig, components: Mapping[str, Component]
) -> list[dict[str, Any]]:
    """AdamW groups of the parameters that require gradients, by the rates and groups of their components, with and
    without weight decay. Vectors (biases, norms) do not decay: the usual choice.

    Each group has its `peak` rate and the `name` by which it may be inactive (None: it never is).
    """
    groups: dict[tuple[str, str | None, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        component = components[component_of(name)]
        decays = len(shape_of(parameter)) >= 2 and not name.endswith(component.undecayed)
        decay = config.weight_decay if decays else 0.0
        empty: dict[str, Any] = {"params": [], "names": [], "name": component.group, "inactive": False}
        peak = config.lr[component.rate]
        own = groups.setdefault(
            (component.rate, component.group, decays), {**empty, "peak": peak, "lr": peak, "weight_decay": decay}
        )
        own["params"].append(parameter)
        own["names"].append(name)
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
