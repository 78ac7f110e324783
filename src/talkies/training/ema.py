"""Exponential moving average of what trains, and nothing else."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from talkies.parallel.sharding import local
from talkies.training.config import EmaConfig


class Ema:
    """fp32 averages of named parameters, sharded as they are. Decay after n updates: min(`decay`, (1 + n) / (10 + n)),
    so that the average forgets the initial weights early."""

    def __init__(self, parameters: Mapping[str, Tensor], config: EmaConfig) -> None:
        self.config = config
        self.updates = 0
        self.averages = {name: p.detach().float().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor]) -> None:
        """Move the averages towards `parameters` (the same names as at construction)."""
        decay = min(self.config.decay, (1 + self.updates) / (10 + self.updates))
        current = [local(parameters[name]).detach().float() for name in self.averages]
        torch._foreach_lerp_([local(average) for average in self.averages.values()], current, 1.0 - decay)
        self.updates += 1

    @contextmanager
    def swapped(self, parameters: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside the block the parameters hold the averages; afterwards they are bitwise what they were."""
        kept = {name: p.detach().clone() for name, p in parameters.items()}
        _copy(self.averages, parameters)
        try:
            yield
        finally:
            _copy(kept, parameters)


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in source.items():
        local(target[name]).copy_(local(tensor))
