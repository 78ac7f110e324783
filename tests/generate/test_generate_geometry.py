from dataclasses import replace
from fractions import Fraction

import pytest
from lossless import HopAudio, PixelVideo

from talkies.config import DataError
from talkies.generate.geometry import clip_shape, sample_count


@pytest.mark.parametrize("fps", [12.0, 24.0, 25.0, 30000 / 1001, 23.976023976])
@pytest.mark.parametrize(("stride", "block"), [(1, 1), (2, 8), (4, 8), (4, 16), (6, 7)])
def test_the_clip_of_a_grid_is_found_again(stride: int, block: int, fps: float) -> None:
    codec = PixelVideo(stride, block)
    shape = (1 + 8 * stride, 3 * block, 5 * block)
    assert clip_shape(codec, codec.grid(*shape, fps), fps) == shape


def test_the_released_sizes() -> None:
    """193 frames at 24 fps, 352x640 and 720x1280 (docs/mova.md: Shapes); int(48000 193 / 24) = 386,000 samples."""
    wan, dac = PixelVideo(4, 8), HopAudio(48000, 960)
    for size, latent in (((352, 640), (49, 44, 80)), ((720, 1280), (49, 90, 160))):
        grid = wan.grid(193, *size, 24.0)
        assert grid.shape == latent
        assert clip_shape(wan, grid, 24.0) == (193, *size)
    grid = dac.grid(386_000)
    assert grid.shape == (403,)
    assert sample_count(dac, grid, 193, 24.0) == 386_000


def test_sound_is_cut_exactly_and_rounded_down() -> None:
    codec = HopAudio(48000, 960)
    assert sample_count(codec, codec.grid(48048), 24, 24000 / 1001) == 48048  # 24 frames last 1.001 s
    toy = HopAudio(1000, 40)
    assert sample_count(toy, toy.grid(417), 5, 12.0) == 416  # of 416.67


def test_another_rate_or_another_codec_is_refused() -> None:
    codec = PixelVideo(4, 8)
    grid = codec.grid(193, 352, 640, 24.0)
    for wrong in (25.0, 12.0, 6.0):
        with pytest.raises(DataError, match=f"6 steps per second, but at {wrong:g} fps"):
            clip_shape(codec, grid, wrong)
    with pytest.raises(DataError, match="video grid"):
        clip_shape(codec, replace(grid, channels=16), 24.0)
    with pytest.raises(DataError, match="video grid"):
        clip_shape(codec, replace(grid, rate=Fraction(7)), 24.0)
