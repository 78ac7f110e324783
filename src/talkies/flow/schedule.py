"""Noise levels: the sigma shift and the sampling grid of the released code. fp64, so that `plan` and training agree."""

from math import isfinite
from typing import TypeVar

from torch import Tensor

Level = TypeVar("Level", float, Tensor)


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


def sigma_grid(steps: int, s: float) -> list[float]:
    """Noise levels of an Euler sampler with `steps` steps: `steps` + 1 values, from 1.0 strictly down to 0.0.

    The released scheduler's grid (extra_one_step, sigma_min 0): u = linspace(1, 0, steps + 1) without its last point,
    shifted; the last step goes to 0. Upstream snaps a step to the nearest of the 1000 training levels; we do not.
    Raises ValueError for fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"{steps} sampling steps: at least 1 is needed; set sampling.steps")
    return [shift((steps - i) / steps, s) for i in range(steps)] + [0.0]
