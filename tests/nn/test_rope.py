"""RoPE: conventions, positions from a Grid, and the relative property."""

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from talkies.nn.rope import Rope, aligned_rope, axis_dims, rope_of, rotate, token_times, tower_rope
from talkies.streams import Grid

CPU = torch.device("cpu")
VIDEO = Grid(channels=16, shape=(49, 4, 6), rate=Fraction(6))
AUDIO = Grid(channels=128, shape=(403,), rate=Fraction(50))
PATCH = (1, 2, 2)


def rope_at(positions: list[float], dim: int, *, halves: bool) -> Rope:
    angle = torch.tensor([[p * 10000.0 ** (-2 * j / dim) for j in range(dim // 2)] for p in positions]).double()
    return rope_of(angle, halves=halves)


def angle_of(rope: Rope) -> Tensor:
    return torch.view_as_complex(rope.rotations[:, 0]).angle()


def wrapped(angle: Tensor) -> Tensor:
    return torch.remainder(angle.double() + math.pi, 2 * math.pi) - math.pi


@pytest.mark.parametrize("halves", [False, True])
def test_rotation_turns_each_pair_of_its_convention(halves: bool) -> None:
    dim, position = 6, 1.7
    x = torch.randn(1, 1, 1, dim)
    turned = rotate(x, rope_at([position], dim, halves=halves))[0, 0, 0]
    for j in range(dim // 2):
        a, b = (j, j + dim // 2) if halves else (2 * j, 2 * j + 1)
        angle = position * 10000.0 ** (-2 * j / dim)
        assert_close(turned[a], x[0, 0, 0, a] * math.cos(angle) - x[0, 0, 0, b] * math.sin(angle))
        assert_close(turned[b], x[0, 0, 0, a] * math.sin(angle) + x[0, 0, 0, b] * math.cos(angle))


@pytest.mark.parametrize("halves", [False, True])
def test_products_depend_on_the_distance_only(halves: bool) -> None:
    q, k = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def product(at_q: float, at_k: float) -> Tensor:
        return (rotate(q, rope_at([at_q], 16, halves=halves)) * rotate(k, rope_at([at_k], 16, halves=halves))).sum()

    assert_close(product(3.0, 8.0), product(103.0, 108.0), atol=1e-4, rtol=1e-4)
    assert (product(3.0, 8.0) - product(3.0, 9.0)).abs() > 1e-3


def test_rotation_answers_in_fp32_and_keeps_lengths() -> None:
    x = torch.randn(2, 403, 3, 24, dtype=torch.bfloat16)
    turned = rotate(x, tower_rope(AUDIO, (1,), 24, AUDIO.rate, CPU))
    assert turned.dtype == torch.float32
    assert_close(turned.norm(dim=-1), x.float().norm(dim=-1))


def test_axis_dims_are_upstreams_for_head_dim_128() -> None:
    assert axis_dims(128, 3) == (44, 42, 42)
    assert axis_dims(24, 3) == (8, 8, 8)
    assert axis_dims(128, 1) == (128,)


@pytest.mark.parametrize(("head_dim", "axes"), [(64, 3), (2, 3), (7, 1)])
def test_head_dims_that_leave_an_odd_axis_are_refused(head_dim: int, axes: int) -> None:
    with pytest.raises(ValueError, match=f"head_dim {head_dim} .* even"):
        axis_dims(head_dim, axes)


def test_video_turns_by_frame_row_and_column_each_with_its_own_normaliser() -> None:
    head_dim, frame, row, column = 128, 31, 1, 2
    rope = tower_rope(VIDEO, PATCH, head_dim, VIDEO.rate, CPU)
    assert rope.rotations.shape == (49 * 2 * 3, 1, 64, 2)
    assert not rope.halves
    wanted = [
        position * 10000.0 ** (-2 * j / dim)
        for position, dim in ((frame, 44), (row, 42), (column, 42))
        for j in range(dim // 2)
    ]
    got = angle_of(rope)[(frame * 2 + row) * 3 + column]
    assert_close(got.double(), wrapped(torch.tensor(wanted).double()), atol=1e-6, rtol=0)


def test_audio_turns_all_dimensions_by_the_latent_step() -> None:
    rope = tower_rope(AUDIO, (1,), 128, AUDIO.rate, CPU)
    wanted = torch.tensor([402 * 10000.0 ** (-2 * j / 128) for j in range(64)], dtype=torch.float64)
    assert_close(angle_of(rope)[402].double(), wrapped(wanted), atol=1e-6, rtol=0)


def test_aligned_positions_are_seconds_times_the_rate_and_ignore_space() -> None:
    video, audio = (aligned_rope(g, p, 128, 50.0, CPU) for g, p in ((VIDEO, PATCH), (AUDIO, (1,))))
    assert video.halves
    assert audio.halves
    times = token_times(VIDEO, PATCH, 50.0)
    assert_close(times, [i * 50 / (24 / 4) for i in range(49)])
    assert token_times(AUDIO, (1,), 50.0) == list(range(403))
    wanted = torch.tensor([48 * 50 / 6 * 10000.0 ** (-2 * j / 128) for j in range(64)], dtype=torch.float64)
    assert_close(angle_of(video)[-1].double(), wrapped(wanted), atol=1e-6, rtol=0)
    per_frame = angle_of(video).unflatten(0, (49, 6))
    assert torch.equal(per_frame, per_frame[:, :1].expand_as(per_frame))
    assert torch.equal(per_frame[6, 0], angle_of(audio)[50])  # both start at one second


def test_times_follow_the_grid_not_a_constant() -> None:
    slow = Grid(channels=16, shape=(5, 2, 2), rate=Fraction(25, 4))
    assert_close(token_times(slow, PATCH, 25.0), [0.0, 4.0, 8.0, 12.0, 16.0])
    assert token_times(Grid(channels=1, shape=(8,), rate=Fraction(50)), (2,), 25.0) == [0.0, 1.0, 2.0, 3.0]


def test_pieces_that_a_codec_encodes_on_their_own_begin_at_their_own_times() -> None:
    """Three steps of 1/4 s to a piece of 1/2 s: a token at 0.5 s turns as one of another stream at 0.5 s does."""
    pieces = Grid(channels=1, shape=(6,), rate=Fraction(4), chunk=(3, Fraction(1, 2)))
    whole = Grid(channels=1, shape=(6,), rate=Fraction(4))
    assert token_times(pieces, (1,), 4.0) == [0.0, 1.0, 2.0, 2.0, 3.0, 4.0]
    for rope in (tower_rope, aligned_rope):
        found, plain = (angle_of(rope(grid, (1,), 8, 4.0, CPU)) for grid in (pieces, whole))
        assert torch.equal(found, plain[[0, 1, 2, 2, 3, 4]])


def test_turns_are_cached_per_grid_and_usable_for_training_when_made_in_inference_mode() -> None:
    grid = Grid(channels=1, shape=(7,), rate=Fraction(3))
    with torch.inference_mode():
        rope = tower_rope(grid, (1,), 8, grid.rate, CPU)
    assert tower_rope(Grid(channels=1, shape=(7,), rate=Fraction(3)), (1,), 8, grid.rate, CPU) is rope
    x = torch.randn(1, 7, 1, 8, requires_grad=True)
    rotate(x, rope).square().sum().backward()
    assert_close(x.grad, 2 * x.detach())
