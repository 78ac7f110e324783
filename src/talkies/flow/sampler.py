"""Samplers: from noise to data, each stream with its own column of noise levels (docs/mova.md: Sampling)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from talkies.flow.config import SamplerConfig, TargetConfig, VelocityTarget, fits
from talkies.flow.dpm_sde import Estimate, second_order
from talkies.flow.guidance import StepDenoiser
from talkies.flow.target import alpha_sigma, parts_of, widened_level
from talkies.signals.answer import check_signal
from talkies.streams.batch import Condition, Stream

Inactive = Callable[[Mapping[str, float]], frozenset[str]]
"""Noise level by stream -> the parameter groups that take no part in an evaluation there."""
StepNoise = Callable[[str, int], Tensor]
"""Stream, and step from 0 -> N(0, 1) shaped like its latent."""


def sample(
    config: SamplerConfig,
    denoiser: StepDenoiser,
    streams: Mapping[str, Stream],
    condition: Condition,
    levels: Mapping[str, Sequence[float]],
    *,
    target: TargetConfig = VelocityTarget(),  # noqa: B008 (frozen)
    noise: StepNoise | None = None,
    inactive: Inactive = lambda _: frozenset(),
    on_step: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Latents at the last noise level, one per stream that `levels` names, fp32.

    `streams` hold these streams at their first noise level; the others are given, and stay as they are. `levels[name]`
    has N + 1 decreasing values, with the same N for every stream. A stream's `time` is set here, but for latent steps
    that are known: where it is [B, T], steps at 0 keep their latents, and the network sees them clean. `target`: what
    the denoiser predicts; `noise` is drawn for samplers that add it; `on_step` is called after each step with the
    number of steps done.
    """
    assert levels.keys() <= streams.keys(), f"levels for {list(levels)}, streams {list(streams)}"
    assert len({len(column) for column in levels.values()}) == 1, "streams differ in their number of steps"
    assert fits(config, target), f"{config.kind} cannot use {target.kind}"
    given = {name: 0.0 for name in streams if name not in levels}

    def evaluate(step: int, latents: Mapping[str, Tensor], at: Mapping[str, float]) -> dict[str, Tensor]:
        """The predictions, fp32, for these latents at these noise levels."""
        there = {**streams, **{name: _at(streams[name], latent, at[name]) for name, latent in latents.items()}}
        predicted = denoiser(step)(there, replace(condition, inactive=inactive({**given, **at})))
        return {name: predicted[name].float() for name in levels}

    state, past = {name: streams[name].latent.float() for name in levels}, dict[str, Estimate]()
    for step in range(len(next(iter(levels.values()))) - 1):
        check_signal()
        now, following = ({name: column[at] for name, column in levels.items()} for at in (step, step + 1))
        predicted = evaluate(step, state, now)
        for name, x in state.items():
            gap = (now[name], following[name])
            if config.kind == "dpm_sde":
                drawn = None if noise is None or not following[name] else noise(name, step)
                state[name], past[name] = second_order(target, x, predicted[name], gap, past.get(name), noise=drawn)
            else:
                state[name] = advanced(config, target, x, predicted[name], gap)
        if on_step is not None:
            on_step(step + 1)
    return {name: _with_known(streams[name], x) for name, x in state.items()}


def advanced(
    config: SamplerConfig, target: TargetConfig, x: Tensor, predicted: Tensor, gap: tuple[float, float]
) -> Tensor:
    """The latent `x` at the first level of `gap`, one step on at the second."""
    level, following = gap
    if config.kind == "euler":
        return x + predicted * (following - level)
    data, noise = parts_of(target, x, predicted, _times(x, level))
    alpha, sigma = alpha_sigma(target, _times(x, following), x)
    return alpha * data + sigma * noise


def _times(x: Tensor, level: float) -> Tensor:
    return torch.full((x.shape[0],), level, dtype=torch.float32, device=x.device)


def _at(stream: Stream, latent: Tensor, level: float) -> Stream:
    """`stream` with `latent` at one noise level for the whole batch, but for the latent steps that are known."""
    times = _times(latent, level)
    if stream.time.ndim == 2:
        times = times[:, None].where(stream.time > 0, 0.0)
    return replace(stream, latent=_with_known(stream, latent), time=times)


def _with_known(stream: Stream, latent: Tensor) -> Tensor:
    """`latent`, with the latent steps of `stream` that are known."""
    if stream.time.ndim == 1:
        return latent
    return latent.where(widened_level(stream.time, latent) > 0, stream.latent.float())
