"""The samplers of CogVideoX are those of its released schedulers, step for step, and reach the data's distribution."""

from collections.abc import Callable, Mapping
from fractions import Fraction

import pytest
import torch
from analytic import GRIDS, GaussianV, captioned, streams
from diffusers.schedulers import scheduling_dpm_cogvideox
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from test_flow_zero_snr import OPTIONS
from torch import Tensor

from talkies.flow.config import (
    DdimSampler,
    DpmSdeSampler,
    LinearQuadraticSchedule,
    ShiftedSchedule,
    TargetConfig,
    UniformGridSchedule,
    UniformSchedule,
    VPredictionTarget,
    ZeroSnrVPredictionTarget,
)
from talkies.flow.draw import gaussian
from talkies.flow.sampler import sample
from talkies.flow.schedule import level_grid
from talkies.flow.target import alpha_sigma
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream

VIDEO = Grid(channels=4, shape=(3, 2, 2), rate=Fraction(2))
START = gaussian(0, ["a", "b"], [0, 0], "start", VIDEO.latent_shape)


def predicted(latent: Tensor, t: Tensor) -> Tensor:
    """Some smooth v of a latent at level t [B]."""
    return torch.sin(latent + 3 * t.view(-1, 1, 1, 1, 1)) * 0.9


def drawn(name: str, step: int) -> Tensor:
    return gaussian(1, ["a", "b"], [0, 0], f"{name}/{step}", VIDEO.latent_shape)


def ours(sampler: DdimSampler | DpmSdeSampler, shift: float, steps: int) -> tuple[list[Tensor], Tensor]:
    """The latents before every step, and the last ones."""
    seen = []

    def denoiser(now: Mapping[str, Stream], _: Condition) -> dict[str, Tensor]:
        seen.append(now["video"].latent)
        return {"video": predicted(now["video"].latent, now["video"].time)}

    start = {"video": Stream(latent=START, time=torch.ones(2), grid=VIDEO)}
    levels = {"video": level_grid(UniformGridSchedule(), "video", steps)}
    target = ZeroSnrVPredictionTarget(snr_shift=shift)
    found = sample(sampler, lambda _: denoiser, start, Condition(texts={}), levels, target=target, noise=drawn)
    return seen, found["video"]


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_ddim_makes_the_steps_of_the_released_scheduler(shift: float, steps: int) -> None:
    scheduler = CogVideoXDDIMScheduler(**OPTIONS, snr_shift_scale=shift)
    scheduler.set_timesteps(steps)
    seen, last = ours(DdimSampler(), shift, steps)
    x = START
    for number, i in enumerate(scheduler.timesteps):
        torch.testing.assert_close(seen[number], x, rtol=0, atol=1e-5)
        x = scheduler.step(predicted(x, (i + 1).expand(2) / 1000), i, x).prev_sample
    torch.testing.assert_close(last, x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_dpm_sde_makes_the_steps_of_the_released_scheduler(
    shift: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the same noise, which the scheduler would draw itself."""
    scheduler = scheduling_dpm_cogvideox.CogVideoXDPMScheduler(**OPTIONS, snr_shift_scale=shift)
    scheduler.set_timesteps(steps)
    seen, last = ours(DpmSdeSampler(), shift, steps)
    x, before, earlier = START, None, None
    for number, i in enumerate(scheduler.timesteps):
        torch.testing.assert_close(seen[number], x, rtol=0, atol=1e-5)
        noise = drawn("video", number)
        monkeypatch.setattr(scheduling_dpm_cogvideox, "randn_tensor", lambda *_, noise=noise, **__: noise)
        found = scheduler.step(predicted(x, (i + 1).expand(2) / 1000), before, i, earlier, x, return_dict=False)
        (x, before), earlier = (part.float() for part in found), i
    torch.testing.assert_close(last, x, rtol=0, atol=1e-5)


TARGETS: list[TargetConfig] = [VPredictionTarget(), ZeroSnrVPredictionTarget()]


def some_noise(name: str, step: int) -> Tensor:
    return gaussian(2, ["a", "b"], [0, 0], f"{name}/{step}", GRIDS[name].latent_shape)


class Towards:
    """The exact v to one point, 0.75, on the path of `target`."""

    def __init__(self, target: TargetConfig) -> None:
        self.target = target

    def __call__(self, now: Mapping[str, Stream], _: Condition) -> dict[str, Tensor]:
        found = {}
        for name, stream in now.items():
            alpha, sigma = alpha_sigma(self.target, stream.time, stream.latent)
            noise = (stream.latent - alpha * 0.75) / sigma
            found[name] = alpha * noise - sigma * 0.75
        return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("schedule", [ShiftedSchedule(), UniformSchedule(), LinearQuadraticSchedule()])
@pytest.mark.parametrize("steps", [1, 2, 3, 30])
def test_a_point_is_reached_exactly_whatever_the_levels(
    target: TargetConfig, schedule: ShiftedSchedule | UniformSchedule, steps: int
) -> None:
    levels = {m: level_grid(schedule, m, steps) for m in GRIDS}
    condition = Condition(texts={})
    found = sample(
        DpmSdeSampler(), lambda _: Towards(target), streams(), condition, levels, target=target, noise=some_noise
    )
    for x in found.values():
        torch.testing.assert_close(x, torch.full_like(x, 0.75), rtol=0, atol=1e-5)


def test_a_gaussian_s_mean_and_deviation_are_reached() -> None:
    """The noise that is added has the deviation that the step takes away."""
    grid = Grid(channels=1, shape=(1, 100, 100), rate=Fraction(1))
    start = gaussian(0, ["a"], [0], "start", grid.latent_shape)
    found = sample(
        DpmSdeSampler(),
        lambda _: GaussianV(std=0.5),
        {"video": Stream(latent=start, time=torch.ones(1), grid=grid)},
        captioned(0.75),
        {"video": level_grid(UniformSchedule(), "video", 50)},
        target=VPredictionTarget(),
        noise=lambda name, step: gaussian(1, ["a"], [0], f"{name}/{step}", grid.latent_shape),
    )["video"]
    assert float(found.mean()) == pytest.approx(0.75, abs=0.02)
    assert float(found.std()) == pytest.approx(0.5, rel=0.03)
    assert abs(float(torch.corrcoef(torch.stack([found.flatten(), start.flatten()]))[0, 1])) < 0.2


def test_noise_is_drawn_once_for_each_stream_and_step_but_the_last() -> None:
    asked = []

    def noted(draw: Callable[[str, int], Tensor]) -> Callable[[str, int], Tensor]:
        return lambda name, step: (asked.append((name, step)), draw(name, step))[1]

    levels = {m: level_grid(UniformSchedule(), m, 4) for m in GRIDS}
    options = {"target": VPredictionTarget(), "noise": noted(some_noise)}
    sample(DpmSdeSampler(), lambda _: GaussianV(std=0.5), streams(), captioned(0.75, -1.0), levels, **options)
    assert asked == [(name, step) for step in range(3) for name in GRIDS]
    asked.clear()
    sample(DdimSampler(), lambda _: GaussianV(std=0.5), streams(), captioned(0.75, -1.0), levels, **options)
    assert not asked
