"""Which evaluations guidance needs, and the forms of annealed scales."""

import math
from itertools import pairwise

import pytest
from analytic import JOINT

from talkies.flow.config import AnnealedScale, Scale
from talkies.flow.ladder import left_out, scale_at
from talkies.models.mova.system import MOVA

LADDER = MOVA.ladder(JOINT)


def values(scale: Scale, steps: int) -> list[float]:
    return [scale_at(scale, step, steps) for step in range(steps)]


@pytest.mark.parametrize("steps", [2, 3, 50])
@pytest.mark.parametrize(("early", "late"), [(1.0, 1.0), (5.0, 1.0), (1.0, 5.0), (2.0, 3.0), (0.5, 1.0)])
@pytest.mark.parametrize(("first", "last"), [(6.0, 2.0), (1.0, 7.0)])
def test_a_scale_reaches_both_ends_and_never_turns(
    first: float, last: float, early: float, late: float, steps: int
) -> None:
    found = values(AnnealedScale(first=first, last=last, early=early, late=late), steps)
    assert (found[0], found[-1]) == (pytest.approx(first), pytest.approx(last))
    assert all((after - before) * (last - first) >= 0 for before, after in pairwise(found))


def test_early_is_the_form_of_echomimic_and_late_that_of_cogvideox() -> None:
    """g/2 + g/2 (1 - cos(pi ((N - i)/N)^5)) / 2, and 1 + g (1 - cos(pi (i/N)^5)) / 2, at N + 1 points."""
    count, g = 40, 6.0
    early = [g / 2 + g / 2 * (1 - math.cos(math.pi * ((count - i) / count) ** 5)) / 2 for i in range(count + 1)]
    late = [1 + g * (1 - math.cos(math.pi * (i / count) ** 5)) / 2 for i in range(count + 1)]
    assert values(AnnealedScale(first=g, last=g / 2, early=5.0), count + 1) == pytest.approx(early)
    assert values(AnnealedScale(first=1.0, last=1 + g, late=5.0), count + 1) == pytest.approx(late)


@pytest.mark.parametrize(
    ("scales", "expected"),
    [
        ({}, set()),
        ({"text": 1.0, "bridge": 1.0}, set()),
        ({"text": 3.0}, {"text"}),
        ({"bridge": 2.0}, {"text", "bridge"}),
        ({"text": 0.0}, {"text"}),
        ({"text": AnnealedScale(first=1.0, last=1.0)}, set()),
        ({"text": AnnealedScale(first=1.0, last=2.0)}, {"text"}),
    ],
)
def test_a_condition_is_left_out_where_an_evaluation_does_without_it(
    scales: dict[str, Scale], expected: set[str]
) -> None:
    assert left_out(LADDER, scales, 4) == expected
