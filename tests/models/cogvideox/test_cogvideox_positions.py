"""Where video tokens lie, against diffusers' helpers."""

from dataclasses import replace

import pytest
import torch
from cog_toy import KINDS, ROPE, SHAPE, their_rope
from diffusers.models.embeddings import get_3d_sincos_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch.testing import assert_close

from talkies.models.cogvideox.config import PRESETS
from talkies.models.cogvideox.positions import PositionTable, crop_region, rope, sincos

CPU = torch.device("cpu")
FRAMES = [(30, 45), (45, 30), (17, 30), (16, 16), (48, 80), (1, 7), (5, 3)]


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_a_frame_covers_what_the_pipeline_says(frame: tuple[int, int]) -> None:
    (top, left), (bottom, right) = get_resize_crop_region_for_grid(frame, 45, 30)
    assert crop_region(frame, (30, 45)) == ((top, bottom), (left, right))


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_rotations_are_the_pipelines(frame: tuple[int, int]) -> None:
    """fp64 here, fp32 there: of angles below 50."""
    shape = (13, *frame)
    cos, sin = their_rope(PRESETS["5b"], (13, *(2 * size for size in frame)))
    found = rope(PRESETS["5b"], shape, CPU).rotations
    assert found.shape == (13 * frame[0] * frame[1], 1, 32, 2)
    for index, expected in enumerate((cos, sin)):
        assert_close(found[:, 0, :, index].repeat_interleave(2, -1), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(13, 30, 45), (3, 5, 2)], ids=str)
def test_sinusoids_are_those_of_diffusers(shape: tuple[int, int, int]) -> None:
    steps, rows, columns = shape
    expected = get_3d_sincos_pos_embed(1920, (columns, rows), steps, 1.875, 1.0).flatten(0, 1)
    assert_close(sincos(PRESETS["2b"], shape, CPU), expected.float(), rtol=0, atol=1e-5)


def test_scales_divide_the_indices() -> None:
    plain = replace(KINDS["sincos"], spatial_scale=1.0)
    halved = replace(plain, spatial_scale=0.5, temporal_scale=0.25)
    every = sincos(plain, (9, 7, 5), CPU).unflatten(0, (9, 7, 5))[::4, ::2, ::2]
    assert torch.equal(sincos(halved, (3, 4, 3), CPU).unflatten(0, (3, 4, 3)), every)


def test_a_table_begins_as_the_sinusoids_of_the_sample() -> None:
    config, table = KINDS["learned"], PositionTable(KINDS["learned"])
    video, text = table(torch.zeros(2, 72, 96), torch.zeros(2, 4, 96), (3, 4, 6))
    assert torch.equal(video, sincos(config, (3, 4, 6), CPU).expand(2, -1, -1))
    assert not text.any()


def test_shorter_clips_and_texts_have_the_first_rows() -> None:
    table = PositionTable(KINDS["learned"])
    torch.nn.init.normal_(table.table)
    video, text = table(torch.zeros(1, 48, 96), torch.zeros(1, 5, 96), (2, 4, 6))
    assert torch.equal(text, table.table[:, :5])
    assert torch.equal(video, table.table[:, 7 : 7 + 48])


@pytest.mark.parametrize("shape", [(3, 6, 4), (4, 4, 6), (3, 2, 12)], ids=str)
def test_a_table_has_one_size(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"of 3 steps of 4 x 6 tokens, but the video has \d of \d+ x \d+: use clips"):
        PositionTable(KINDS["learned"])(torch.zeros(1, 72, 96), torch.zeros(1, 7, 96), shape)
    with pytest.raises(ValueError, match="of 7 text tokens, but the text has 8"):
        PositionTable(KINDS["learned"])(torch.zeros(1, 72, 96), torch.zeros(1, 8, 96), (3, 4, 6))


def test_heads_and_samples_must_divide() -> None:
    with pytest.raises(ValueError, match="needs a head_dim that 16 divides, but it is 24"):
        rope(replace(ROPE, head_dim=24), SHAPE, CPU)
    with pytest.raises(ValueError, match="need a width that 16 divides, but it is 24"):
        sincos(replace(ROPE, heads=3, head_dim=8), SHAPE, CPU)
    with pytest.raises(ValueError, match=r"latent shape \(3, 9, 12\) is not divisible by the patch \(1, 2, 2\)"):
        assert replace(ROPE, sample_size=(9, 12)).sample_tokens
