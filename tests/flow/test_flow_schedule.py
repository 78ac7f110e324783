import numpy as np
import pytest
import torch

from talkies.flow.schedule import shift, sigma_grid, unshift


@pytest.mark.parametrize("s", [0.5, 1.0, 3.0, 5.0, 9.0])
def test_shift_maps_the_unit_interval_onto_itself_and_back(s: float) -> None:
    u = torch.linspace(0, 1, 101, dtype=torch.float64)
    sigma = shift(u, s)
    assert sigma[0] == 0
    assert sigma[-1] == 1
    assert bool((sigma.diff() > 0).all())
    torch.testing.assert_close(unshift(sigma, s), u, rtol=0, atol=1e-12)
    assert shift(0.25, s) == pytest.approx(float(sigma[25]))
    assert unshift(shift(0.25, s), s) == pytest.approx(0.25)


def test_shift_one_is_the_identity_and_five_raises_the_noise() -> None:
    u = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert torch.equal(shift(u, 1.0), u)
    assert shift(0.5, 5.0) == pytest.approx(5 / 6)


@pytest.mark.parametrize("s", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_shifts_are_refused(s: float) -> None:
    with pytest.raises(ValueError, match="sigma shift"):
        shift(0.5, s)
    with pytest.raises(ValueError, match="sigma shift"):
        unshift(0.5, s)


def test_the_released_grid() -> None:
    """The noise levels of the released scheduler, and its expert switch after 18 of 50 steps."""
    levels = [1000 * sigma for sigma in sigma_grid(50, 5.0)]
    assert len(levels) == 51
    assert levels[:3] == pytest.approx([1000, 995.93, 991.74], abs=5e-3)
    assert levels[-2:] == pytest.approx([92.59, 0], abs=5e-3)
    assert sum(t >= 900 for t in levels) == 18
    assert sum(t < 900 for t in levels[:-1]) == 32


@pytest.mark.parametrize(("steps", "s"), [(1, 5.0), (14, 5.0), (25, 5.0), (50, 5.0), (50, 1.0), (100, 3.0)])
def test_the_grid_agrees_with_diffusers(steps: int, s: float) -> None:
    """diffusers' scheduler, given the same unshifted levels, shifts them and appends the 0."""
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=s)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1])
    torch.testing.assert_close(torch.tensor(sigma_grid(steps, s)), scheduler.sigmas, rtol=0, atol=2e-7)


def test_the_grid_decreases_to_exactly_zero_and_needs_a_step() -> None:
    grid = sigma_grid(7, 9.0)
    assert grid[0] == 1.0
    assert grid[-1] == 0.0
    assert grid == sorted(grid, reverse=True)
    assert len(set(grid)) == 8
    with pytest.raises(ValueError, match=r"sampling\.steps"):
        sigma_grid(0, 5.0)
