"""Where the state of what trains lies: weights and moments, and how they are changed from outside."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from talkies.checkpoints.spans import Held, local


class HeldState(Protocol):
    """This rank's part of a phase's state, by parameter name."""

    def weights(self) -> dict[str, Held]:
        """What trains, in fp32 (the masters); writing into these changes the state."""

    def refresh(self) -> None:
        """The weights were written to: let the network compute with them. Every rank calls it."""

    def moments(self) -> dict[str, Held]:
        """ "<name>/<key>" -> the optimizer's exp_avg, exp_avg_sq and step, of what has been stepped."""

    def restore(self, moments: Mapping[str, Held]) -> None:
        """Put back what `moments` gave, or another layout's `moments` of the same step."""

    def begin_step(self) -> None:
        """An optimizer step begins."""

    def norm_before(self) -> Tensor | None:
        """The global norm of the gradients before a step; None where an engine clips them and knows it after."""

    def norm_after(self) -> Tensor | None:
        """What an engine says of the step that was just made: infinite where it made none; None without an engine."""


class OwnState:
    """Weights are the module's parameters (under FSDP2: their shards), moments those of AdamW over them."""

    def __init__(self, model: Callable[[], nn.Module], optimizer: Callable[[], torch.optim.Optimizer]) -> None:
        self._model, self._optimizer = model, optimizer

    def weights(self) -> dict[str, Held]:
        """The parameters that require gradients."""
        return {name: p for name, p in self._model().named_parameters() if p.requires_grad}

    def refresh(self) -> None:
        """Nothing: the network computes with them."""

    def moments(self) -> dict[str, Held]:
        """Of every parameter that AdamW has stepped."""
        optimizer = self._optimizer()
        found: dict[str, Held] = {}
        for name, parameter in self._named():
            for key, value in optimizer.state.get(parameter, {}).items():
                found[f"{name}/{key}"] = value
        return found

    def restore(self, moments: Mapping[str, Held]) -> None:
        """AdamW's state, on the device of each parameter; the step stays on the CPU."""
        optimizer = self._optimizer()
        for name, parameter in self._named():
            if f"{name}/step" in moments:
                stored = {key: moments[f"{name}/{key}"] for key in ("exp_avg", "exp_avg_sq")}
                placed = {key: value.to(parameter.device) for key, value in stored.items() if isinstance(value, Tensor)}
                optimizer.state[parameter] = {"step": moments[f"{name}/step"], **placed}

    def begin_step(self) -> None:
        """Nothing: gradients were set to None."""

    def norm_before(self) -> Tensor:
        """Over everything that has a gradient."""
        groups = self._optimizer().param_groups
        grads = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        return torch.nn.utils.get_total_norm(grads).detach()

    def norm_after(self) -> None:
        """Nothing: the optimizer makes every step."""

    def _named(self) -> list[tuple[str, Any]]:
        groups = self._optimizer().param_groups
        return [pair for group in groups for pair in zip(group["names"], group["params"], strict=True)]


@torch.no_grad()
def write(source: Mapping[str, Held], state: HeldState) -> None:
    """Set the weights of `state` to `source` (held alike), and let the network know."""
    target = state.weights()
    for name, value in source.items():
        local(target[name]).copy_(local(value))
    state.refresh()
