from itertools import pairwise

import numpy as np
import pytest
import torch

from talkies.flow.config import (
    LinearQuadraticGridSchedule,
    LinearQuadraticSchedule,
    ScheduleConfig,
    ShiftedSchedule,
    UniformGridSchedule,
    UniformSchedule,
)
from talkies.flow.schedule import level_grid, level_of, shift, u_of, unshift


def shifted(s: float) -> ShiftedSchedule:
    return ShiftedSchedule(shifts={"video": s})


SCHEDULES: list[ScheduleConfig] = [
    *(shifted(s) for s in (0.5, 1.0, 3.0, 5.0, 9.0)),
    *(LinearQuadraticSchedule(threshold=threshold) for threshold in (1e-3, 0.025, 0.25, 0.4, 0.499)),
    UniformSchedule(),
]


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


def test_each_stream_has_its_own_shift_and_one_that_is_not_named_has_5() -> None:
    schedule = ShiftedSchedule(shifts={"video": 3.0, "audio": 1.0})
    assert level_of(schedule, "video", 0.5) == shift(0.5, 3.0)
    assert level_of(schedule, "audio", 0.5) == 0.5
    assert level_of(schedule, "depth", 0.5) == shift(0.5, 5.0)
    assert u_of(schedule, "video", 0.75) == pytest.approx(0.5)
    assert u_of(schedule, "depth", 5 / 6) == pytest.approx(0.5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_level_rises_with_u_from_data_to_noise_and_leads_back_to_it(schedule: ScheduleConfig) -> None:
    u = torch.linspace(0, 1, 201, dtype=torch.float64)
    level = level_of(schedule, "video", u)
    assert level.dtype == torch.float64
    assert (float(level[0]), float(level[-1])) == (pytest.approx(0, abs=1e-15), 1.0)
    assert bool((level.diff() > 0).all())
    back = [u_of(schedule, "video", float(value)) for value in level]
    assert back == pytest.approx(u.tolist(), abs=1e-9)
    assert [level_of(schedule, "video", float(value)) for value in u] == pytest.approx(level.tolist(), abs=1e-15)
    assert (u_of(schedule, "video", 0.0), u_of(schedule, "video", 1.0)) == (0.0, 1.0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 1000])
def test_the_grid_falls_strictly_from_one_to_zero(schedule: ScheduleConfig, steps: int) -> None:
    grid = level_grid(schedule, "video", steps)
    assert (len(grid), grid[0], grid[-1]) == (steps + 1, 1.0, 0.0)
    assert all(after < level for level, after in pairwise(grid))
    with pytest.raises(ValueError, match=r"sampling\.steps"):
        level_grid(schedule, "video", 0)


def test_the_released_grid() -> None:
    """The noise levels of the released scheduler, and its expert switch after 18 of 50 steps."""
    levels = [1000 * sigma for sigma in level_grid(shifted(5.0), "video", 50)]
    assert len(levels) == 51
    assert levels[:3] == pytest.approx([1000, 995.93, 991.74], abs=5e-3)
    assert levels[-2:] == pytest.approx([92.59, 0], abs=5e-3)
    assert sum(t >= 900 for t in levels) == 18
    assert sum(t < 900 for t in levels[:-1]) == 32


@pytest.mark.parametrize(("steps", "s"), [(1, 5.0), (14, 5.0), (25, 5.0), (50, 5.0), (50, 1.0), (100, 3.0)])
def test_the_shifted_grid_agrees_with_diffusers(steps: int, s: float) -> None:
    """diffusers' scheduler, given the same unshifted levels, shifts them and appends the 0."""
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=s)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1])
    found = torch.tensor(level_grid(shifted(s), "video", steps))
    torch.testing.assert_close(found, scheduler.sigmas, rtol=0, atol=2e-7)


@pytest.mark.parametrize("steps", [2, 4, 10, 50, 64])
@pytest.mark.parametrize("threshold", [0.01, 0.025, 0.2])
def test_the_linear_quadratic_grid_agrees_with_diffusers(steps: int, threshold: float) -> None:
    """diffusers' helper (for Mochi) leaves out the last 0; it has as many linear steps as others for even numbers."""
    from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule

    schedule = LinearQuadraticSchedule(threshold=threshold)
    expected = [*linear_quadratic_schedule(steps, threshold), 0.0]
    assert level_grid(schedule, "video", steps) == pytest.approx(expected, abs=1e-12)


def test_uniform_levels_are_u_itself() -> None:
    u = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert torch.equal(level_of(UniformSchedule(), "video", u), u)
    assert level_grid(UniformSchedule(), "video", 4) == [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize("steps", [1, 2, 7, 10, 64, 1000])
@pytest.mark.parametrize("threshold", [0.025, 0.2])
def test_a_grid_has_the_sampler_s_levels_each_for_an_equal_share_of_u(steps: int, threshold: float) -> None:
    """And the data's level, 0, for none: there a sampler evaluates nothing."""
    schedule = LinearQuadraticGridSchedule(threshold=threshold, steps=steps)
    expected = level_grid(LinearQuadraticSchedule(threshold=threshold), "video", steps)
    assert level_grid(schedule, "video", steps) == pytest.approx(expected, abs=1e-12)
    u = (torch.arange(20 * steps, dtype=torch.float64) + 0.5) / (20 * steps)
    levels, counts = level_of(schedule, "video", u).unique(return_counts=True)
    assert levels.flip(0).tolist() == pytest.approx(expected[:-1], abs=1e-12)
    assert counts.tolist() == [20] * steps
    assert [level_of(schedule, "video", float(value)) for value in u[:50]] == pytest.approx(
        level_of(schedule, "video", u[:50]).tolist(), abs=1e-15
    )


def test_a_grid_s_range_of_levels_is_a_range_of_u() -> None:
    """What is drawn between u_of(low) and u_of(high) has the levels in [low, high)."""
    schedule = LinearQuadraticGridSchedule(steps=16)
    levels = level_grid(schedule, "video", 16)
    for low, high in ((0.0, levels[8]), (levels[8], 1.0), (levels[12], levels[3]), (0.0, 1.0)):
        begin, end = (u_of(schedule, "video", level) for level in (low, high))
        u = begin + (end - begin) * (torch.arange(160, dtype=torch.float64) + 0.5) / 160
        drawn = {round(value, 9) for value in level_of(schedule, "video", u).tolist()}
        wanted = {round(value, 9) for value in levels[:-1] if low <= value and (value < high or high == 1)}
        assert drawn == wanted


def test_a_sampler_may_take_fewer_steps_than_a_grid_has_but_not_more() -> None:
    schedule = LinearQuadraticGridSchedule(steps=16)
    grid = level_grid(schedule, "video", 5)
    assert (len(grid), grid[0], grid[-1]) == (6, 1.0, 0.0)
    assert all(after < level for level, after in pairwise(grid))
    assert {*grid} <= {*level_grid(schedule, "video", 16)}
    with pytest.raises(
        ValueError, match="17 sampling steps, but the schedule linear_quadratic_grid has 16 noise levels"
    ):
        level_grid(schedule, "video", 17)


def test_a_uniform_grid_has_its_timesteps_each_equally_often_and_no_others() -> None:
    schedule = UniformGridSchedule(steps=1000)
    u = (torch.arange(3000, dtype=torch.float64) + 0.5) / 3000
    levels, counts = level_of(schedule, "video", u).unique(return_counts=True)
    assert torch.equal(levels.float(), torch.arange(1, 1001) / 1000)
    assert counts.tolist() == [3] * 1000
    assert level_grid(schedule, "video", 50) == [k / 1000 for k in range(1000, -1, -20)]
    for low, high in ((0.25, 0.5), (0.0, 0.9), (0.999, 1.0)):
        begin, end = (u_of(schedule, "video", level) for level in (low, high))
        drawn = level_of(schedule, "video", begin + (end - begin) * u)
        assert low <= round(float(drawn.min()), 9)
        assert float(drawn.max()) < high or high == 1
    with pytest.raises(ValueError, match=r"has 1000 noise levels: take fewer steps, or sample along uniform$"):
        level_grid(schedule, "video", 1001)
