"""Beginnings of streams that are known: a sampler leads to them, and makes the rest so that it goes on from them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from talkies.flow.config import TargetConfig
from talkies.flow.guidance import StepDenoiser
from talkies.flow.target import target_of
from talkies.streams.batch import Condition, Denoiser, Stream


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """The first K latent steps of a stream: the `data` [B, C, K, ...], and the `noise` [B, C, T, ...] of the whole
    stream, its latents at the first noise level."""

    data: Tensor
    noise: Tensor

    def held(self, predicted: Tensor, level: Tensor, target: TargetConfig) -> Tensor:
        """`predicted` [B, C, T, ...] at `level` [B], exact where the data are known."""
        steps = self.data.shape[2]
        exact = target_of(target, self.data, self.noise[:, :, :steps], level)
        return torch.cat([exact, predicted[:, :, steps:].float()], 2)


def held(at: StepDenoiser, beginnings: Mapping[str, Beginning], target: TargetConfig) -> StepDenoiser:
    """The denoiser of every step, with exact predictions for the beginnings of streams, by name.

    So any sampler that integrates `target` takes these steps along the path from their noise to their data, and the
    network sees them noised, as it does in training (the replacement method: Ho et al., arXiv 2204.03458, section 3.1,
    without its gradient).
    """
    if not beginnings:
        return at

    def step_of(step: int) -> Denoiser:
        denoiser = at(step)

        def call(streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
            predicted = denoiser(streams, condition)
            return predicted | {
                name: beginning.held(predicted[name], streams[name].time, target)
                for name, beginning in beginnings.items()
            }

        return call

    return step_of
