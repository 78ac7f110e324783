"""Classifier-free guidance over any conditions, as a ladder of evaluations that use more and more of them.

v = 1 v(rung 0) + s_1 [v(rung 1) - v(rung 0)] + s_2 [v(rung 2) - v(rung 1)] + ...; MOVA's text and Bridge (section 5.1,
eq. 6, and section 7.2) are one instance. Every weighting of evaluations whose weights add up to 1 is such a ladder.

This module says which evaluations are needed, and imports no torch.
"""

import math
from collections.abc import Mapping, Sequence

from talkies.flow.config import SCALE, Scale
from talkies.streams.system import Rung


def scale_at(scale: Scale, step: int, steps: int) -> float:
    """The value of a scale at step `step`, from 0, of `steps`."""
    if isinstance(scale, int | float):
        return scale
    progress = step / max(1, steps - 1)
    if (scale.early, scale.late) != (1, 1):  # which would round
        progress = 1 - (1 - progress**scale.late) ** scale.early
    return scale.last + (scale.first - scale.last) * (1 + math.cos(math.pi * progress)) / 2


def needed(
    ladder: Sequence[Rung], scales: Mapping[str, Scale], step: int, steps: int
) -> list[tuple[frozenset[str], float]]:
    """The evaluations that `scales` need at a step, each with the scale of its difference from the previous one.

    Collected by evaluation, each v has the weight (own scale - next scale), so an evaluation whose scale equals the
    next one's drops out (and so does the last one if its scale is 0).
    """
    values = [1.0, *(scale_at(scales.get(str(rung.scale), SCALE), step, steps) for rung in ladder[1:])]
    following = [*values[1:], 0.0]
    return [(rung.without, own) for rung, own, after in zip(ladder, values, following, strict=True) if own != after]


def left_out(ladder: Sequence[Rung], scales: Mapping[str, Scale], steps: int) -> frozenset[str]:
    """The conditions that an evaluation does without at any of the steps."""
    rungs = [rung for step in range(steps) for rung, _ in needed(ladder, scales, step, steps)]
    return frozenset().union(*rungs)
