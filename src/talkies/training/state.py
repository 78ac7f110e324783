"""The trainable state of a phase, weights and optimizer moments: where it lies, and how to read and write it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from talkies.checkpoints.spans import StateTensor, local


class TrainingState(Protocol):
    """This rank's part of a phase's state, by parameter name."""

    def weights(self) -> dict[str, StateTensor]:
        """The trainable parameters in fp32 (the masters); writing into them changes the state."""

    def refresh(self) -> None:
        """Make the network compute with weights that were written from outside. Every rank calls it."""

    def moments(self) -> dict[str, StateTensor]:
        """ "<name>/<key>" -> the optimizer's exp_avg, exp_avg_sq and step, for parameters that have been stepped."""

    def restore(self, moments: Mapping[str, StateTensor]) -> None:
        """Restore what `moments` returned, under this layout or another."""

    def begin_step(self) -> None:
        """An optimizer step begins."""

    def norm_before(self) -> Tensor | None:
        """The global gradient norm before a step; None if DeepSpeed clips, and knows it only after the step."""

    def norm_after(self) -> Tensor | None:
        """The gradient norm that DeepSpeed reports after a step: infinite if it made none; None without DeepSpeed."""


class ModuleState:
    """The weights are the module's parameters (under FSDP2 their shards), the moments are AdamW's."""

    def __init__(self, model: Callable[[], nn.Module], optimizer: Callable[[], torch.optim.Optimizer]) -> None:
        self._model, self._optimizer = model, optimizer

    def weights(self) -> dict[str, StateTensor]:
        """The parameters that require gradients."""
        return {name: p for name, p in self._model().named_parameters() if p.requires_grad}

    def refresh(self) -> None:
        """Nothing to do: the network computes with these weights."""

    def moments(self) -> dict[str, StateTensor]:
        """The moments of every parameter that AdamW has stepped."""
        optimizer = self._optimizer()
        moments: dict[str, StateTensor] = {}
        for name, parameter in self._named():
            for key, value in optimizer.state.get(parameter, {}).items():
                moments[f"{name}/{key}"] = value
        return moments

    def restore(self, moments: Mapping[str, StateTensor]) -> None:
        """Restore AdamW's state on the device of each parameter; the step stays on the CPU."""
        optimizer = self._optimizer()
        for name, parameter in self._named():
            if f"{name}/step" in moments:
                stored = {key: moments[f"{name}/{key}"] for key in ("exp_avg", "exp_avg_sq")}
                placed = {key: value.to(parameter.device) for key, value in stored.items() if isinstance(value, Tensor)}
                optimizer.state[parameter] = {"step": moments[f"{name}/step"], **placed}

    def begin_step(self) -> None:
        """Nothing to do: gradients were set to None."""

    def norm_before(self) -> Tensor:
        """The global norm over all parameters that have a gradient."""
        groups = self._optimizer().param_groups
        grads = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        return torch.nn.utils.get_total_norm(grads).detach()

    def norm_after(self) -> None:
        """None: the norm is known before the step."""

    def _named(self) -> list[tuple[str, Any]]:
        groups = self._optimizer().param_groups
        return [pair for group in groups for pair in zip(group["names"], group["params"], strict=True)]


@torch.no_grad()
def write(source: Mapping[str, StateTensor], state: TrainingState) -> None:
    """Set the weights of `state` to `source` (sharded alike), and refresh the network."""
    target = state.weights()
    for name, value in source.items():
        local(target[name]).copy_(local(value))
    state.refresh()
