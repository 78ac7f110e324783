from dataclasses import replace

import pytest
import torch
from analytic import GRIDS, JOINT, GaussianDenoiser, GaussianV, captioned, streams, text
from torch import Tensor

from talkies.flow.config import DdimSampler, EulerSampler, LinearQuadraticSchedule, SamplerConfig, ShiftedSchedule
from talkies.flow.guidance import guided
from talkies.flow.sampler import sample
from talkies.flow.schedule import level_grid
from talkies.models.mova.system import MOVA
from talkies.streams.batch import Condition, Denoiser, Stream

CONDITION = captioned(0.75, -1.0)
KINDS = [(EulerSampler(), GaussianDenoiser), (DdimSampler(), GaussianV)]
"""Each sampler, and the class of an exact denoiser for it."""


def grid(steps: int, video: float = 5.0, audio: float = 5.0) -> dict[str, list[float]]:
    schedule = ShiftedSchedule(shifts={"video": video, "audio": audio})
    return {m: level_grid(schedule, m, steps) for m in ("video", "audio")}


def sampled(
    denoiser: Denoiser,
    start: dict[str, Stream],
    levels: dict[str, list[float]],
    config: SamplerConfig = EulerSampler(),  # noqa: B008 (frozen)
    **options: object,
) -> dict[str, Tensor]:
    return sample(config, lambda _: denoiser, start, CONDITION, levels, **options)


def largest_error(config: SamplerConfig, denoiser: GaussianDenoiser, levels: dict[str, list[float]]) -> float:
    """Against the exact flow of the Gaussian, mean + std noise."""
    start = streams()
    found = sampled(denoiser, start, levels, config)
    mean = denoiser.mean(CONDITION)
    exact = {m: mean.view(-1, *[1] * (s.latent.ndim - 1)) + denoiser.std * s.latent for m, s in start.items()}
    return max(float((found[m] - exact[m]).abs().max()) for m in found)


@pytest.mark.parametrize(("config", "denoiser"), KINDS)
def test_a_point_is_reached_exactly_whatever_the_grid(config: SamplerConfig, denoiser: type[GaussianDenoiser]) -> None:
    """Towards a single point, the predictions are exact: no sampler makes an error in any number of steps."""
    quadratic = {m: level_grid(LinearQuadraticSchedule(), m, 7) for m in GRIDS}
    for levels in (*(grid(steps, 5.0, 1.0) for steps in (1, 2, 3, 50)), quadratic):
        found = sampled(denoiser(std=0.0), streams(), levels, config)
        for m, x in found.items():
            assert x.dtype == torch.float32
            assert x.shape == (2, *GRIDS[m].latent_shape)
            expected = torch.tensor([0.75, -1.0]).view(-1, *[1] * (x.ndim - 1)).expand_as(x)
            torch.testing.assert_close(x, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("config", "denoiser"), KINDS)
@pytest.mark.parametrize(("video", "audio"), [(1.0, 1.0), (5.0, 1.0), (3.0, 5.0)])
def test_a_gaussian_is_reached_at_first_order(
    config: SamplerConfig, denoiser: type[GaussianDenoiser], video: float, audio: float
) -> None:
    errors = [largest_error(config, denoiser(std=0.5), grid(steps, video, audio)) for steps in (50, 100, 200)]
    assert errors[2] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.3)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize(("config", "denoiser"), KINDS)
def test_guidance_moves_the_mean_by_the_formula_of_the_report(
    config: SamplerConfig, denoiser: type[GaussianDenoiser]
) -> None:
    """A prediction is affine in the mean and the branches' weights sum to 1: the guided flow has the guided mean."""
    exact = denoiser(std=0.0, coupling=0.5)
    scales = {"text": 4.0, "bridge": 2.0}
    guide = guided(exact, MOVA.ladder(JOINT), scales, {"text": text(0.25)}, steps=10)
    found = sample(config, guide, streams(), CONDITION, grid(10))
    for x in found.values():
        for one, caption in zip(x, (0.75, -1.0), strict=True):
            mean = 0.25 + 2.0 * 0.5 + 4.0 * (caption - 0.25)
            torch.testing.assert_close(one, torch.full_like(one, mean), rtol=0, atol=2e-5)
    assert len(exact.calls) == 30


def test_each_step_has_its_own_denoiser() -> None:
    """A guided mean that changes from step to step: the last Euler step ends at that of the last denoiser."""
    exact, asked = GaussianDenoiser(std=0.0), []

    def at(step: int) -> Denoiser:
        asked.append(step)
        shift = 1.0 if step == 3 else 0.0
        return lambda now, given: exact(now, replace(given, texts={"text": text(0.75 + shift, shift - 1.0)}))

    found = sample(EulerSampler(), at, streams(), CONDITION, grid(4))
    assert asked == [0, 1, 2, 3]
    assert float(found["video"][0].mean()) == pytest.approx(1.75, abs=1e-5)


def test_every_step_passes_levels_and_expert() -> None:
    denoiser, done, levels = GaussianDenoiser(std=0.5), [], grid(50, 5.0, 1.0)
    start = streams()
    sampled(denoiser, start, levels, inactive=MOVA.parts(JOINT).inactive, on_step=done.append)
    assert done == list(range(1, 51))
    assert [set(c.inactive) for c in denoiser.calls] == [{"video_low"}] * 18 + [{"video_high"}] * 32
    for m in start:
        times = torch.stack([seen[m].time for seen in denoiser.seen])
        assert times.dtype == torch.float32
        assert torch.equal(times, torch.tensor(levels[m][:-1])[:, None].expand(50, 2))
    assert torch.equal(denoiser.seen[0]["video"].latent, start["video"].latent)


def test_the_expert_follows_the_video_s_level_alone() -> None:
    inactive = MOVA.parts(JOINT).inactive
    denoiser = GaussianDenoiser(std=0.5)
    sampled(denoiser, streams(), grid(50, 1.0, 9.0), inactive=inactive)
    assert [set(c.inactive) for c in denoiser.calls] == [{"video_low"}] * 6 + [{"video_high"}] * 44
    alone = GaussianDenoiser(std=0.5)
    sampled(alone, streams(names=("audio",)), {"audio": grid(4)["audio"]}, inactive=inactive)
    assert [c.inactive for c in alone.calls] == [frozenset()] * 4


def test_uncoupled_streams_do_not_affect_each_other() -> None:
    both = sampled(GaussianDenoiser(std=0.5), streams(), grid(8, 5.0, 1.0))
    for m in ("video", "audio"):
        alone = sampled(GaussianDenoiser(std=0.5), streams(names=(m,)), {m: grid(8, 5.0, 1.0)[m]})
        assert torch.equal(alone[m], both[m])


def test_a_stream_without_levels_is_given_and_stays_as_it_is() -> None:
    """Clean, at level 0, which also decides about experts."""
    denoiser, start, asked = GaussianDenoiser(std=0.5), streams(), []
    start["audio"] = replace(start["audio"], time=torch.zeros(2), role="condition")

    def inactive(levels: dict[str, float]) -> frozenset[str]:
        asked.append(dict(levels))
        return frozenset()

    levels = {"video": grid(3)["video"]}
    found = sampled(denoiser, start, levels, inactive=inactive)
    assert found.keys() == {"video"}
    assert all(seen["audio"] is start["audio"] for seen in denoiser.seen)
    assert asked == [{"video": level, "audio": 0.0} for level in levels["video"][:-1]]


def test_the_state_is_fp32_and_the_given_streams_stay() -> None:
    class Half(GaussianDenoiser):
        def __call__(self, *args: object) -> dict[str, Tensor]:
            return {m: v.bfloat16() for m, v in super().__call__(*args).items()}

    start = streams()
    before = {m: s.latent.clone() for m, s in start.items()}
    found = sampled(Half(std=0.5), start, grid(4))
    assert all(x.dtype == torch.float32 for x in found.values())
    assert all(torch.equal(start[m].latent, before[m]) for m in start)


def test_the_condition_reaches_every_evaluation() -> None:
    denoiser, given = GaussianDenoiser(std=0.5), Condition(texts=CONDITION.texts, without=frozenset({"bridge"}))
    sample(EulerSampler(), lambda _: denoiser, streams(), given, grid(2))
    assert [c.without for c in denoiser.calls] == [frozenset({"bridge"})] * 2
