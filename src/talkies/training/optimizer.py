"""What trains, at which rate."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from talkies.models.build import component_of
from talkies.parallel.sharding import shape_of
from talkies.training.config import OptimizerConfig

EXPERTS = {"video_high": 0, "video_low": 1}
"""Component -> the expert that it is; the others train in every step."""


class Alternating(torch.optim.Optimizer):
    """Leaves groups with `inactive` untouched.

    DDP and FSDP2 leave a inactive expert without gradients, and an optimizer would pass over it by itself; DeepSpeed
    hands in zeros, and momentum and weight decay would move it.
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """A step of the groups that do not rest. `closure` forgets the gradients of all."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        every = self.param_groups
        self.param_groups = [group for group in every if not group["inactive"]]
        try:
            super().step()
        finally:
            self.param_groups = every
        return loss


class AlternatingAdamW(Alternating, torch.optim.AdamW):
    """AdamW for experts that take turns."""


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """AdamW groups of the parameters that require gradients: towers (each expert its own) and Bridge, with and without
    weight decay.

    Matrices decay; vectors (biases, norms) and modulations do not: the report is silent, this is the usual choice.
    Each group carries its `peak` rate, and which `expert` it is (None: it never rests).
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
        fresh: dict[str, Any] = {"params": [], "names": [], "expert": expert, "inactive": False}
        group = groups.setdefault((part, expert, decays), {**fresh, "peak": peak, "lr": peak, "weight_decay": decay})
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
