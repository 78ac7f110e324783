"""From the features of a track to tokens of intervals: exact times, two convolutions, one token sequence per step."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cog_toy import drawn
from mtv_toy import CONTROL, track
from torch import Tensor
from torch.testing import assert_close

from talkies.models.mtv.encoder import TrackEncoder
from talkies.models.mtv.tracks import frame_count, windows
from talkies.streams import Grid
from talkies.streams.batch import Stream


def grid(steps: int, fps: Fraction = Fraction(24), stride: int = 4) -> Grid:
    """Of a video."""
    return Grid(channels=5, shape=(steps, 4, 6), rate=fps / stride)


def encoder(**keys: Any) -> TrackEncoder:
    made = TrackEncoder(replace(CONTROL, **keys))
    drawn(made)
    return made


def frames(count: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, count, 18)


def convolved(made: TrackEncoder, x: Tensor) -> Tensor:
    """One strided convolution by torch's: [B, T, tokens, width] -> [B, T / 2, tokens, width]."""
    dense = made.shape.convolution == "dense"
    weight = made.pair.weight.unflatten(1, (2, -1)).transpose(1, 2)
    lines = x.flatten(2) if dense else x.transpose(1, 2).flatten(0, 1)
    found = F.conv1d(lines.transpose(1, 2), weight, made.pair.bias, stride=2).transpose(1, 2)
    return found.unflatten(2, x.shape[2:]) if dense else found.unflatten(0, (x.shape[0], -1)).transpose(1, 2)


@torch.no_grad()
@pytest.mark.parametrize("convolution", ["dense", "per_token"])
@pytest.mark.parametrize(("count", "lengths"), [(49, (25, 13)), (25, (13, 7)), (1, (1, 1)), (5, (3, 2)), (8, (4, 2))])
def test_two_convolutions_with_the_same_weights(convolution: str, count: int, lengths: tuple[int, int]) -> None:
    """The first frame passes by them if it is odd; then a norm."""
    made, given = encoder(convolution=convolution), frames(count)
    x = made.frame(given).unflatten(-1, (CONTROL.tokens, CONTROL.width))
    for length in lengths:
        odd = x.shape[1] % 2
        x = torch.cat((x[:, :odd], convolved(made, x[:, odd:])), 1) if x.shape[1] > 1 else x
        assert x.shape[1] == length
    found = made(given)
    assert found.shape == (2, lengths[-1], CONTROL.tokens, CONTROL.width)
    assert_close(found, made.norm(x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_codec_of_another_stride_has_as_many_convolutions() -> None:
    assert encoder(stride=2)(frames(25)).shape[1] == 13
    assert encoder(stride=8)(frames(25)).shape[1] == 4
    assert encoder(stride=1)(frames(25)).shape[1] == 25


@torch.no_grad()
@pytest.mark.parametrize("convolution", ["dense", "per_token"])
def test_the_first_frame_passes_untouched_and_an_interval_is_of_its_frames(convolution: str) -> None:
    """Frame 0, then frames 1 to 4, 5 to 8 and so on, as the video's latent steps."""
    made, given = encoder(convolution=convolution), frames(25)
    plain = made(given)
    alone = made.norm(made.frame(given[:, 0]).unflatten(-1, (CONTROL.tokens, CONTROL.width)))
    assert_close(plain[:, 0], alone, rtol=1e-5, atol=1e-5)
    for frame in range(25):
        other = given.clone()
        other[:, frame] += torch.randn(2, 18)
        moved = (made(other) - plain).abs().amax((0, 2, 3)) > 1e-4
        assert moved.nonzero().flatten().tolist() == [-(-frame // 4)]


@torch.no_grad()
def test_tokens_mix_only_if_the_convolution_is_dense() -> None:
    for convolution, mixed in (("dense", True), ("per_token", False)):
        made = encoder(convolution=convolution)
        given = torch.randn(1, 3, CONTROL.tokens, CONTROL.width)
        other = given.clone()
        other[:, 1, 0] += 1
        moved = (made._halved(other) - made._halved(given)).abs().amax((0, 1, 3)) > 1e-4
        assert moved.tolist() == [True, mixed]


@torch.no_grad()
def test_fewer_intervals_are_means_before_the_norm() -> None:
    made, given = encoder(), frames(25)
    few = encoder(intervals=3)
    x = made.frame(given).unflatten(-1, (CONTROL.tokens, CONTROL.width))
    steps = made._halved(made._halved(x))
    expected = torch.stack([part.mean(1) for part in torch.split(steps, (3, 2, 2), 1)], 1)
    assert_close(few(given), few.norm(expected), rtol=1e-5, atol=1e-5)


def numbered(steps: int, rate: Fraction, channels: int = 2) -> Stream:
    """A track whose feature is the time of its step, and its negative."""
    geometry = Grid(channels=channels, shape=(steps,), rate=rate)
    times = torch.tensor([float(geometry.seconds(step)) for step in range(steps)])
    return Stream(latent=torch.stack((times, -times))[None], time=torch.zeros(1), grid=geometry)


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_a_window_has_the_features_of_frames_around(reach: int) -> None:
    """Frame by frame the features of -reach to reach, all of one frame before those of the next; past the edges the
    first and the last are repeated."""
    given = track(steps=9, rate=Fraction(24))
    found = windows(given, grid(3), stride=4, reach=reach)
    assert found.shape == (2, 9, (2 * reach + 1) * 6)
    for frame in range(9):
        for at, k in enumerate(range(-reach, reach + 1)):
            expected = given.latent[:, :, min(max(frame + k, 0), 8)]
            assert torch.equal(found[:, frame, 6 * at : 6 * at + 6], expected)


@pytest.mark.parametrize(
    ("rate", "fps"),
    [("50", "24"), ("12", "24"), ("24", "12.5"), ("49.9", "25"), ("30000/1001", "24000/1001"), ("24", "24")],
)
@pytest.mark.parametrize("count", [3, 40, 200])
def test_features_are_taken_at_the_times_of_frames(rate: str, fps: str, count: int) -> None:
    """To the rounding of fp32, also where the track is shorter than the video."""
    given = numbered(count, Fraction(rate))
    found = windows(given, grid(7, Fraction(fps)), stride=4, reach=2).unflatten(2, (5, 2))
    end = Fraction(count - 1) / Fraction(rate)
    for frame in range(25):
        times = [min(max(Fraction(frame + k) / Fraction(fps), Fraction(0)), end) for k in range(-2, 3)]
        expected = torch.tensor([[float(t), -float(t)] for t in times])
        assert_close(found[0, frame], expected, rtol=1e-6, atol=1e-6)


def test_a_track_of_one_step_is_the_same_everywhere() -> None:
    given = track(steps=1)
    assert torch.equal(windows(given, grid(3), stride=4, reach=1), given.latent.transpose(1, 2).repeat(1, 9, 3))


def test_masked_steps_count_as_features_of_zero() -> None:
    given = track(steps=9, rate=Fraction(24))
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    found = windows(replace(given, mask=mask), grid(3), stride=4, reach=0)
    expected = given.latent.transpose(1, 2).clone()
    expected[1, 4:] = 0
    assert torch.equal(found, expected)


def test_windows_are_fp32() -> None:
    given = track(steps=9, rate=Fraction(24))
    low = replace(given, latent=given.latent.bfloat16())
    assert windows(low, grid(3), stride=4, reach=1).dtype == torch.float32


@pytest.mark.parametrize(("steps", "stride", "frames"), [(13, 4, 49), (7, 4, 25), (1, 4, 1), (13, 2, 25), (20, 1, 20)])
def test_a_video_has_one_frame_and_a_stride_for_every_other_step(steps: int, stride: int, frames: int) -> None:
    assert frame_count(grid(steps), stride) == frames
