"""Rotary positions with learned frequencies."""

import torch
from torch.testing import assert_close

from talkies.nn.learned_rope import LOWEST, LearnedRope


def test_angles_are_linear_in_the_positions() -> None:
    rope, positions = LearnedRope(3, 4, 16), torch.randn(2, 5, 3)
    expected = torch.einsum("bta,ahd->bthd", positions, rope.frequencies)
    assert_close(rope(positions), expected)


def test_no_frequency_starts_at_zero() -> None:
    """From 1 radian per unit down to LOWEST, in a direction of its own for each head and pair."""
    rope = LearnedRope(3, 4, 16)
    norms = rope.frequencies.norm(dim=0)
    assert_close(norms, (LOWEST ** torch.linspace(0, 1, 8)).expand(4, 8))
    directions = (rope.frequencies / norms).flatten(1).T
    nearest = (directions @ directions.T).fill_diagonal_(0).max()
    assert float(nearest) < 1 - 1e-4


def test_a_table_that_is_added_to_another_starts_at_zero_and_learns() -> None:
    rope = LearnedRope(1, 2, 8, zero=True)
    angles = rope(torch.ones(1, 3, 1))
    assert not angles.any()
    angles.sum().backward()
    assert rope.frequencies.grad is not None
    assert rope.frequencies.grad.all()


def test_autocast_lowers_nothing() -> None:
    rope, positions = LearnedRope(3, 2, 8), 100 * torch.randn(1, 5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rope(positions), rope(positions.float()))
        low = rope(positions)
    assert torch.equal(low, rope(positions))
    assert low.dtype == torch.float32
