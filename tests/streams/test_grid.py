"""Where latent steps lie in time."""

from fractions import Fraction
from itertools import pairwise

import pytest

from talkies.streams import Grid


def test_a_whole_clip_has_even_steps() -> None:
    grid = Grid(channels=3, shape=(7,), rate=Fraction(25, 2))
    assert [grid.seconds(step) for step in range(7)] == [Fraction(2 * step, 25) for step in range(7)]
    thirds = Grid(channels=3, shape=(4,), rate=Fraction(30000, 1001))
    assert thirds.seconds(3) == Fraction(3003, 30000)


def test_chunks_begin_at_multiples_of_their_duration() -> None:
    """Ten steps of 1/8 s to a piece of 1 s, whose last steps reach beyond it."""
    grid = Grid(channels=3, shape=(25,), rate=Fraction(8), chunk=(10, Fraction(1)))
    times = [grid.seconds(step) for step in range(25)]
    assert [times[step] for step in (0, 10, 20)] == [0, 1, 2]
    assert times[9] == Fraction(9, 8)
    assert times[19] == 1 + Fraction(9, 8)
    assert times[24] == 2 + Fraction(4, 8)


@pytest.mark.parametrize("chunk", [(1, Fraction(1, 6)), (3, Fraction(1, 2)), (6, Fraction(1)), (100, Fraction(50, 3))])
def test_chunks_as_long_as_their_steps_change_nothing(chunk: tuple[int, Fraction]) -> None:
    whole = Grid(channels=3, shape=(20, 4, 4), rate=Fraction(6))
    pieces = Grid(channels=3, shape=(20, 4, 4), rate=Fraction(6), chunk=chunk)
    assert [pieces.seconds(step) for step in range(20)] == [whole.seconds(step) for step in range(20)]
    assert pieces.latent_shape == whole.latent_shape == (3, 20, 4, 4)
    assert pieces != whole


def test_a_chunk_of_one_step_has_the_rate_of_its_duration() -> None:
    grid = Grid(channels=1, shape=(5,), rate=Fraction(99), chunk=(1, Fraction(1, 3)))
    assert {after - before for before, after in pairwise(map(grid.seconds, range(5)))} == {Fraction(1, 3)}


def test_tokens_are_patches_and_a_patch_must_divide() -> None:
    grid = Grid(channels=3, shape=(4, 6, 8), rate=Fraction(6), chunk=(2, Fraction(1)))
    assert grid.token_shape((2, 3, 4)) == (2, 2, 2)
    assert grid.tokens((1, 2, 2)) == 4 * 3 * 4
    for patch in ((1, 4, 2), (3, 1, 1), (1, 2), ()):
        with pytest.raises(ValueError, match="not divisible by the patch"):
            grid.tokens(patch)
