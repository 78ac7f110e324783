"""Samplers: from noise to data, each stream with its own column of noise levels (docs/mova.md: Sampling)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from talkies.flow.config import SamplerConfig
from talkies.flow.guidance import StepDenoiser
from talkies.flow.target import alpha_sigma
from talkies.signals.answer import check_signal
from talkies.streams.batch import Condition, Stream

Inactive = Callable[[Mapping[str, float]], frozenset[str]]
"""Noise level by stream -> the parameter groups that take no part in an evaluation there."""


def sample(
    config: SamplerConfig,
    denoiser: StepDenoiser,
    streams: Mapping[str, Stream],
    condition: Condition,
    levels: Mapping[str, Sequence[float]],
    *,
    inactive: Inactive = lambda _: frozenset(),
    on_step: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Latents at the last noise level, one per stream that `levels` names, fp32.

    `streams` hold these streams at their first noise level (their `time` is set here); the others are given, and stay
    as they are. `levels[name]` has N + 1 decreasing values, with the same N for every stream. `on_step` is called after
    each step with the number of steps done.
    """
    assert levels.keys() <= streams.keys(), f"levels for {list(levels)}, streams {list(streams)}"
    assert len({len(column) for column in levels.values()}) == 1, "streams differ in their number of steps"
    given = {name: 0.0 for name in streams if name not in levels}

    def evaluate(step: int, latents: Mapping[str, Tensor], at: Mapping[str, float]) -> dict[str, Tensor]:
        """The predictions, fp32, for these latents at these noise levels."""
        there = {**streams, **{name: _at(streams[name], latent, at[name]) for name, latent in latents.items()}}
        predicted = denoiser(step)(there, replace(condition, inactive=inactive({**given, **at})))
        return {name: predicted[name].float() for name in levels}

    state = {name: streams[name].latent.float() for name in levels}
    for step in range(len(next(iter(levels.values()))) - 1):
        check_signal()
        now, following = ({name: column[at] for name, column in levels.items()} for at in (step, step + 1))
        predicted = evaluate(step, state, now)
        for name in levels:
            state[name] = advanced(config, state[name], predicted[name], now[name], following[name])
        if on_step is not None:
            on_step(step + 1)
    return state


def advanced(config: SamplerConfig, x: Tensor, predicted: Tensor, level: float, following: float) -> Tensor:
    """The latent `x` at `level`, one step on at `following`."""
    if config.kind == "euler":
        return x + predicted * (following - level)
    (alpha, sigma), (next_alpha, next_sigma) = (alpha_sigma(_times(x, t), x) for t in (level, following))
    data, noise = alpha * x - sigma * predicted, sigma * x + alpha * predicted
    return next_alpha * data + next_sigma * noise


def _times(x: Tensor, level: float) -> Tensor:
    return torch.full((x.shape[0],), level, dtype=torch.float32, device=x.device)


def _at(stream: Stream, latent: Tensor, level: float) -> Stream:
    """`stream` with `latent` at one noise level for the whole batch."""
    return replace(stream, latent=latent, time=_times(latent, level))
