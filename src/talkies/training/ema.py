"""Exponential moving average of the trainable parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from talkies.checkpoints.spans import StateTensor, local, mapped
from talkies.training.config import EmaConfig
from talkies.training.state import TrainingState, write


class Ema:
    """fp32 averages of named parameters, sharded as they are. The decay after n updates is min(`decay`,
    (1 + n) / (10 + n)), so that the average soon forgets the initial weights."""

    def __init__(self, parameters: Mapping[str, StateTensor], config: EmaConfig) -> None:
        self.config = config
        self.updates = 0
        self.averages = {name: mapped(p, _copied) for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, StateTensor]) -> None:
        """Move the averages towards `parameters` (the same names as at construction)."""
        decay = min(self.config.decay, (1 + self.updates) / (10 + self.updates))
        current = [local(parameters[name]).detach().float() for name in self.averages]
        torch._foreach_lerp_([local(average) for average in self.averages.values()], current, 1.0 - decay)
        self.updates += 1

    @contextmanager
    def swapped(self, state: TrainingState) -> Iterator[None]:
        """Within the block the weights of `state` are the averages; then they are restored bitwise."""
        original = {name: mapped(p, _copied) for name, p in state.weights().items()}
        write(self.averages, state)
        try:
            yield
        finally:
            write(original, state)


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32, copy=True)
