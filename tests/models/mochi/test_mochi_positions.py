"""Where tokens lie, in Mochi's units."""

from fractions import Fraction

import pytest
import torch
from diffusers.models.transformers.transformer_mochi import MochiRoPE
from torch.testing import assert_close

from talkies.models.mochi.positions import begun, pace, positions
from talkies.streams import Grid

CPU = torch.device("cpu")
PIECES = (5, Fraction(1))
"""25 frames at 25 a second become 5 latent steps: of 1 frame, and of 6 each."""
CHUNKED = Grid(channels=12, shape=(10, 8, 6), rate=Fraction(25, 6), chunk=PIECES)
SOUND = Grid(channels=4, shape=(50,), rate=Fraction(25))


@pytest.mark.parametrize("shape", [(3, 4, 6), (2, 80, 46)])
def test_video_lies_where_mochi_puts_it(shape: tuple[int, ...]) -> None:
    grid = Grid(channels=12, shape=shape, rate=Fraction(5))
    steps, height, width = grid.token_shape((1, 2, 2))
    expected = MochiRoPE()._get_positions(steps, height, width, dtype=torch.float32)
    assert_close(positions(grid, (1, 2, 2), pace(grid), "index", CPU)[0], expected, rtol=1e-6, atol=1e-4)


def test_a_frame_covers_the_same_area_whatever_its_size() -> None:
    for height, width in ((8, 6), (80, 46)):
        grid = Grid(channels=12, shape=(1, height, width), rate=Fraction(5))
        rows = positions(grid, (1, 2, 2), pace(grid), "index", CPU)[0, :, 1:]
        side = 192 * (4 / (height * width)) ** 0.5
        assert_close(rows.amax(0) - rows.amin(0), torch.tensor([height / 2 - 1, width / 2 - 1]) * side)
        assert_close(rows.mean(0), torch.zeros(2), rtol=0, atol=1e-4)


def test_sound_and_video_share_a_clock() -> None:
    """In latent steps of the video: 5 a second, on average over the chunks."""
    unit = pace(CHUNKED)
    assert unit == 5
    times = positions(SOUND, (1,), unit, "seconds", CPU)[0, :, 0]
    assert_close(times, torch.arange(50) / 5)


def test_latent_steps_begin_where_their_chunk_puts_them() -> None:
    times = positions(CHUNKED, (1, 2, 2), pace(CHUNKED), "seconds", CPU)[0, :: 4 * 3, 0]
    expected = torch.tensor([chunk * 5 + step * 6 / 5 for chunk in range(2) for step in range(5)])
    assert_close(times, expected)
    assert_close(positions(CHUNKED, (1, 2, 2), pace(CHUNKED), "index", CPU)[0, ::12, 0], torch.arange(10.0))


def test_a_start_moves_time_only_and_by_sample() -> None:
    place = positions(CHUNKED, (1, 2, 2), Fraction(5), "index", CPU)
    assert begun(place, None, Fraction(5)) is place
    moved = begun(place, torch.tensor([-2.0, 0.5]), Fraction(5))
    assert_close(moved[:, :, 0] - place[:, :, 0], torch.tensor([[-10.0], [2.5]]).expand(2, 120))
    assert torch.equal(moved[:, :, 1:], place[:, :, 1:].expand(2, -1, -1))
