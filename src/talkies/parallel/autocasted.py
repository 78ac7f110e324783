"""Evaluations in bf16, as training computes them in one process: autocast over the whole network."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from talkies.streams.batch import Condition, Denoiser, Stream


@dataclass(frozen=True)
class Autocasted:
    """A Denoiser under autocast to bf16. Without autocast's cache, which would hold a copy of every fp32 weight."""

    denoiser: Denoiser
    device: torch.device

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        """As the denoiser's."""
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            return self.denoiser(streams, condition)
