"""Known beginnings are reached exactly, along their path; the rest is the sampler's own."""

import pytest
import torch
from analytic import GRIDS, GaussianDenoiser, GaussianV, captioned, streams
from torch import Tensor

from talkies.flow.config import (
    DdimSampler,
    EulerSampler,
    SamplerConfig,
    ShiftedSchedule,
    TargetConfig,
    VelocityTarget,
    VPredictionTarget,
)
from talkies.flow.held import Beginning, held
from talkies.flow.sampler import sample
from talkies.flow.schedule import level_grid
from talkies.flow.target import noisy
from talkies.streams.batch import Stream

CONDITION = captioned(0.75, -1.0)
KINDS = [(EulerSampler(), GaussianDenoiser), (DdimSampler(), GaussianV)]


def target_for(config: SamplerConfig) -> TargetConfig:
    return VelocityTarget() if config.kind == "euler" else VPredictionTarget()


LEVELS = {m: level_grid(ShiftedSchedule(), m, 5) for m in GRIDS}
STEPS = 2
"""Known latent steps of the video's 3."""


def known(start: dict[str, Stream]) -> dict[str, Beginning]:
    data = torch.randn(2, 2, STEPS, 2, 4, generator=torch.Generator().manual_seed(1))
    return {"video": Beginning(data=data, noise=start["video"].latent)}


def sampled(config: SamplerConfig, denoiser: GaussianDenoiser, beginnings: dict[str, Beginning]) -> dict[str, Tensor]:
    at = held(lambda _: denoiser, beginnings, target_for(config))
    return sample(config, at, streams(), CONDITION, LEVELS, target=target_for(config))


@pytest.mark.parametrize(("config", "kind"), KINDS)
def test_the_beginning_is_the_data_and_the_network_sees_it_noised(
    config: SamplerConfig, kind: type[GaussianDenoiser]
) -> None:
    start, denoiser = streams(), kind(std=0.7)
    beginning = known(start)["video"]
    found = sampled(config, denoiser, {"video": beginning})
    torch.testing.assert_close(found["video"][:, :, :STEPS], beginning.data, rtol=0, atol=1e-5)
    for seen, level in zip(denoiser.seen, LEVELS["video"], strict=False):
        expected = noisy(target_for(config), beginning.data, beginning.noise[:, :, :STEPS], torch.full((2,), level))
        torch.testing.assert_close(seen["video"].latent[:, :, :STEPS], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("config", "kind"), KINDS)
def test_what_is_not_known_is_sampled_as_ever(config: SamplerConfig, kind: type[GaussianDenoiser]) -> None:
    """The denoiser treats every number on its own, so nothing else may change."""
    free = sampled(config, kind(std=0.7), {})
    found = sampled(config, kind(std=0.7), known(streams()))
    assert torch.equal(found["video"][:, :, STEPS:], free["video"][:, :, STEPS:])
    assert torch.equal(found["audio"], free["audio"])
    assert not torch.equal(found["video"], free["video"])


def test_without_beginnings_the_denoiser_is_the_same() -> None:
    def at(_: int) -> GaussianDenoiser:
        return GaussianDenoiser(std=1.0)

    assert held(at, {}, target_for(EulerSampler())) is at
