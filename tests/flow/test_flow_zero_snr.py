"""CogVideoX's path is the one of its released scheduler, at every timestep and in between."""

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from diffusers.schedulers.scheduling_dpm_cogvideox import CogVideoXDPMScheduler

from talkies.flow.config import ZeroSnrVPredictionTarget
from talkies.flow.loss import per_sample_loss
from talkies.flow.target import alpha_sigma, noisy, parts_of, target_of
from talkies.flow.zero_snr import alpha_at, alphas

OPTIONS = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "set_alpha_to_one": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
}  # fmt: skip
"""Of CogVideoX's released schedulers."""
SHIFTS = [1.0, 3.0]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("scheduler", [CogVideoXDDIMScheduler, CogVideoXDPMScheduler])
def test_alpha_bar_is_the_released_schedulers(scheduler: type[CogVideoXDDIMScheduler], shift: float) -> None:
    released = scheduler(**OPTIONS, snr_shift_scale=shift).alphas_cumprod.double().numpy()
    found = alphas(ZeroSnrVPredictionTarget(snr_shift=shift))
    assert found.shape == (1001,)
    assert (found[0], found[-1]) == (1.0, 0.0)
    assert bool((np.diff(found) < 0).all())
    np.testing.assert_allclose(found[1:] ** 2, released, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shift", SHIFTS)
def test_levels_in_fp32_are_timesteps_exactly_and_linear_between(shift: float) -> None:
    target = ZeroSnrVPredictionTarget(snr_shift=shift)
    table = torch.from_numpy(alphas(target))
    levels = torch.arange(1001) / 1000
    assert levels.dtype == torch.float32
    assert torch.equal(alpha_at(target, levels.double()), table)
    between = (torch.arange(1000, dtype=torch.float64) + 0.25) / 1000
    torch.testing.assert_close(alpha_at(target, between), 0.75 * table[:-1] + 0.25 * table[1:], rtol=0, atol=1e-15)
    alpha, sigma = alpha_sigma(target, between.float(), torch.zeros(1000, 1, 1))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(1000, 1, 1), rtol=0, atol=2e-7)


def test_a_schedule_of_other_numbers() -> None:
    """By hand: two timesteps, of which the last has no signal."""
    found = alphas(ZeroSnrVPredictionTarget(beta_start=0.19, beta_end=0.5, steps=2))
    np.testing.assert_allclose(found, [1.0, 0.9, 0.0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shift", SHIFTS)
def test_noise_is_added_as_by_the_released_scheduler(shift: float) -> None:
    scheduler = CogVideoXDDIMScheduler(**OPTIONS, snr_shift_scale=shift)
    target = ZeroSnrVPredictionTarget(snr_shift=shift)
    steps = torch.tensor([0, 1, 250, 500, 998, 999])
    x0, noise, t = normal(6, 4, 3, 2, 2), normal(6, 4, 3, 2, 2, seed=1), (steps + 1) / 1000
    x = noisy(target, x0, noise, t)
    torch.testing.assert_close(x, scheduler.add_noise(x0, noise, steps), rtol=0, atol=2e-6)
    # The scheduler keeps a copy in fp32; and from (v, x) its get_velocity leads back to the data.
    scheduler = CogVideoXDDIMScheduler(**OPTIONS, snr_shift_scale=shift)
    v = target_of(target, x0, noise, t)
    torch.testing.assert_close(scheduler.get_velocity(v, x, steps), x0, rtol=0, atol=1e-5)
    data, back = parts_of(target, x, v, t)
    torch.testing.assert_close(data, x0, rtol=0, atol=1e-6)
    torch.testing.assert_close(back, noise, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_weighted_loss_of_the_data_is_the_plain_loss_of_v(shift: float) -> None:
    """(x0_hat - x0)^2 / (1 - alpha bar) = (v_hat - v)^2, which is why no weighting is needed."""
    target, t = ZeroSnrVPredictionTarget(snr_shift=shift), torch.tensor([0.01, 0.1, 0.4, 0.9, 1.0])
    x0, noise, v_hat = (normal(5, 4, 3, 2, 2, seed=seed) for seed in range(3))
    x, v = noisy(target, x0, noise, t), target_of(target, x0, noise, t)
    data, _ = parts_of(target, x, v_hat, t)
    _, sigma = alpha_sigma(target, t, x0)
    valid = torch.ones(5, 3, dtype=torch.bool)
    weighted = per_sample_loss(data, x0, valid, weight=1 / sigma.view(5).square())
    torch.testing.assert_close(weighted, per_sample_loss(v_hat, v, valid), rtol=1e-4, atol=0)
