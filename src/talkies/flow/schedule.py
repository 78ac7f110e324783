"""Schedules: u in [0, 1] -> noise level, its inverse, and the grid of a sampler.

fp64, so that `plan` and training agree. u = 0 is data and u = 1 is noise, for every kind.
"""

from math import ceil, isfinite, sqrt
from typing import TypeVar

from torch import Tensor

from talkies.flow.config import GridSchedule, ScheduleConfig, UniformGridSchedule, UniformSchedule

Level = TypeVar("Level", float, Tensor)
ROUNDING = 1e-9


def level_of(config: ScheduleConfig, stream: str, u: Level) -> Level:
    """The noise level of `u` for a stream."""
    if config.kind == "shifted":
        return shift(u, config.shift(stream))
    if isinstance(config, GridSchedule):
        u = snapped(u, config.steps)
    if isinstance(config, UniformSchedule | UniformGridSchedule):
        return u
    return linear_quadratic(u, config.threshold)


def u_of(config: ScheduleConfig, stream: str, level: float) -> float:
    """The inverse of `level_of`. Of a grid: where the draws end that have a lower level."""
    if level in (0.0, 1.0):
        return level
    if config.kind == "shifted":
        return unshift(level, config.shift(stream))
    if isinstance(config, UniformSchedule | UniformGridSchedule):
        u = level
    else:
        u = inverse_linear_quadratic(level, config.threshold)
    return snapped(u, config.steps) - 1 / config.steps if isinstance(config, GridSchedule) else u


def level_grid(config: ScheduleConfig, stream: str, steps: int) -> list[float]:
    """Noise levels of a sampler with `steps` steps: `steps` + 1 values, from 1 strictly down to 0.

    Of `shifted`, the released MOVA scheduler's grid (extra_one_step, sigma_min 0); upstream snaps a step to the nearest
    of the 1000 training levels, we do not. Raises ValueError for fewer than one step, and for more than a grid has.
    """
    if steps < 1:
        raise ValueError(f"{steps} sampling steps: at least 1 is needed; set sampling.steps")
    if isinstance(config, GridSchedule) and steps > config.steps:
        raise ValueError(
            f"{steps} sampling steps, but the schedule {config.kind} has {config.steps} noise levels: take "
            f"fewer steps, or sample along {config.kind.removesuffix('_grid')}"
        )
    return [level_of(config, stream, (steps - i) / steps) for i in range(steps)] + [0.0]


def _check(s: float) -> None:
    if not (isfinite(s) and s > 0):
        raise ValueError(f"sigma shift {s}: it must be a finite number above 0 (1 leaves the noise levels as they are)")


def shift(u: Level, s: float) -> Level:
    """sigma(u) = s u / (1 + (s - 1) u): maps [0, 1] onto itself, towards noise for s > 1; the identity for s = 1.

    Raises ValueError if `s` is not above 0.
    """
    _check(s)
    return s * u / (1 + (s - 1) * u)


def unshift(sigma: Level, s: float) -> Level:
    """The inverse of `shift`."""
    _check(s)
    return sigma / (s - (s - 1) * sigma)


def snapped(u: Level, steps: int) -> Level:
    """The next multiple of 1 / steps: each of them above 0 for an equal share of u. (A multiple stays what it is,
    however it was rounded.)"""
    place = u * steps - ROUNDING
    return (place.ceil() if isinstance(place, Tensor) else ceil(place)) / steps


def linear_quadratic(u: Level, threshold: float) -> Level:
    """sigma(u) = 1 - 2 th w - (1 - 2 th) max(0, 2 w - 1)^2 with w = 1 - u."""
    w = 1 - u
    rest = 2 * w - 1
    curved = rest.clamp(min=0) if isinstance(rest, Tensor) else max(0.0, rest)
    return 1 - 2 * threshold * w - (1 - 2 * threshold) * curved * curved


def inverse_linear_quadratic(sigma: float, threshold: float) -> float:
    """The u of a level: linear above 1 - th, below that the root of a quadratic equation."""
    if sigma >= 1 - threshold:
        return 1 - (1 - sigma) / (2 * threshold)
    # With r = 2 w - 1: (1 - 2 th) r^2 + th r - (1 - th - sigma) = 0.
    a, b, c = 1 - 2 * threshold, threshold, sigma - 1 + threshold
    return 1 - (1 + (-b + sqrt(b * b - 4 * a * c)) / (2 * a)) / 2
