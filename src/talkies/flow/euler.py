"""The sampler: Euler from noise to data, each modality with its own column of noise levels (docs/mova.md: Sampling)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from talkies.flow.objective import expert_at
from talkies.signals.answer import check_signal
from talkies.streams import Modality
from talkies.streams.batch import Condition, Denoiser, Stream


def euler(
    denoiser: Denoiser,
    streams: Mapping[Modality, Stream],
    condition: Condition,
    sigmas: Mapping[Modality, Sequence[float]],
    *,
    boundary: float,
    on_step: Callable[[int], None] | None = None,
) -> dict[Modality, Tensor]:
    """Latents at the last noise level, one per stream, fp32.

    `streams` hold the latents at the first noise level (their `time` is set here). `sigmas[m]` has N + 1 decreasing
    values, with the same N for every modality. With video, the expert follows the video's level: 0 at or above
    `boundary`, 1 below. `on_step` is called after each step with the number of steps done.
    """
    assert sigmas.keys() == streams.keys(), f"levels for {list(sigmas)}, streams {list(streams)}"
    assert len({len(column) for column in sigmas.values()}) == 1, "modalities differ in their number of steps"
    columns = {m: list(pairwise(column)) for m, column in sigmas.items()}
    state = {m: stream.latent.float() for m, stream in streams.items()}
    for step in range(len(next(iter(columns.values())))):
        check_signal()
        now = {m: _at(streams[m], latent, columns[m][step][0]) for m, latent in state.items()}
        if "video" in columns:
            condition = replace(condition, expert=expert_at(columns["video"][step][0], boundary))
        velocities = denoiser(now, condition)
        for m, column in columns.items():
            level, following = column[step]
            state[m] = state[m] + velocities[m].float() * (following - level)
        if on_step is not None:
            on_step(step + 1)
    return state


def _at(stream: Stream, latent: Tensor, sigma: float) -> Stream:
    """`stream` with `latent` at noise level `sigma`, the same for the whole batch."""
    time = torch.full((latent.shape[0],), sigma, dtype=torch.float32, device=latent.device)
    return replace(stream, latent=latent, time=time)
