"""Mochi 1's VAE behind the video protocol, at small random weights."""

import json
from fractions import Fraction
from math import prod
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLMochi

from talkies.codecs.config import MochiVideoConfig
from talkies.codecs.load import load_codecs
from talkies.codecs.mochi import MochiVideoCodec
from talkies.config import DataError, RecipeError

CONFIG = MochiVideoConfig()


def network() -> AutoencoderKLMochi:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoencoderKLMochi(
            encoder_block_out_channels=(32,) * 4,
            decoder_block_out_channels=(32,) * 4,
            layers_per_block=(1,) * 5,
        ).requires_grad_(False)


@pytest.fixture(scope="module")
def codec() -> MochiVideoCodec:
    return MochiVideoCodec(CONFIG, network())


def clip(frames: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(1, frames, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_releases_geometry_is_the_default() -> None:
    with torch.device("meta"):
        made = AutoencoderKLMochi()
    sizes = made.config
    found = (sizes.latent_channels, prod(sizes.temporal_expansions), prod(sizes.spatial_expansions))
    assert found == (CONFIG.channels, CONFIG.stride, CONFIG.block)
    assert sizes.scaling_factor == 1.0  # else latents would be scaled once more


def test_latents_are_the_normalised_posterior_mode(codec: MochiVideoCodec) -> None:
    frames = clip(25)
    latent = codec.encode(frames)
    assert latent.shape == (1, *codec.grid(25, 16, 16, 25.0).latent_shape) == (1, 12, 5, 2, 2)
    mode, sizes = codec.network.encode(frames.transpose(1, 2)).latent_dist.mode(), codec.network.config
    for channel in (0, 11):
        normal = (mode[:, channel] - sizes.latents_mean[channel]) / sizes.latents_std[channel]
        torch.testing.assert_close(latent[:, channel], normal)


def test_pieces_of_25_frames_are_encoded_and_decoded_alone(codec: MochiVideoCodec) -> None:
    frames = torch.cat([clip(25), clip(25, seed=2)], dim=1)
    latent = codec.encode(frames)
    assert latent.shape == (1, *codec.grid(50, 16, 16, 25.0).latent_shape) == (1, 12, 10, 2, 2)
    assert torch.equal(latent[:, :, :5], codec.encode(frames[:, :25]))
    assert torch.equal(latent[:, :, 5:], codec.encode(frames[:, 25:]))
    decoded = codec.decode(latent)
    assert decoded.shape == frames.shape
    assert decoded.abs().max() <= 1
    assert torch.equal(decoded[:, 25:], codec.decode(latent[:, :, 5:]))


def test_a_still_becomes_two_steps(codec: MochiVideoCodec) -> None:
    assert codec.still_frames == 7
    latent = codec.encode(clip(1).expand(-1, 7, -1, -1, -1))
    assert latent.shape == (1, *codec.grid(7, 16, 16, 25.0).latent_shape) == (1, 12, 2, 2, 2)
    assert codec.decode(latent).shape == (1, 7, 3, 16, 16)


def test_times_follow_the_pieces(codec: MochiVideoCodec) -> None:
    """20 steps of 4 s: six frames apart within a piece, a whole second from piece to piece."""
    grid = codec.grid(100, 16, 16, 25.0)
    assert grid.shape[0] == 20
    assert grid.seconds(1) == Fraction(6, 25)
    assert [grid.seconds(step) for step in (0, 5, 10, 20)] == [0, 1, 2, 4]


@pytest.mark.parametrize(("frames", "nearest"), [(26, "25 or 50"), (97, "75 or 100"), (8, "7 or 13")])
def test_frames_that_do_not_fit_are_refused(codec: MochiVideoCodec, frames: int, nearest: str) -> None:
    with pytest.raises(DataError, match=rf"{frames} frames do not fit codec mochi.*nearest: {nearest}"):
        codec.grid(frames, 16, 16, 25.0)


def test_loads_a_folder_and_names_what_is_wrong(tmp_path: Path, codec: MochiVideoCodec) -> None:
    network().save_pretrained(tmp_path)
    config = MochiVideoConfig(weights=str(tmp_path))
    loaded = load_codecs({"video": config}, None).video["video"]
    assert torch.equal(loaded.encode(clip(7)), codec.encode(clip(7)))
    assert loaded.identity == codec.identity
    with pytest.raises(RecipeError, match=r"`codecs\.film\.stride` is 4, the weights have 6"):
        load_codecs({"film": MochiVideoConfig(weights=str(tmp_path), stride=4)}, None)
    with pytest.raises(RecipeError, match=r"`codecs\.video\.weights` is not set.*vae/ of a released Mochi 1"):
        load_codecs({"video": MochiVideoConfig()}, None)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"latents_mean": [0.5] * 12}))
    assert MochiVideoCodec.load(config).identity != codec.identity
    path.write_text(json.dumps(values | {"_class_name": "AutoencoderKLWan"}))
    with pytest.raises(DataError, match=r"'AutoencoderKLWan', and here it must be AutoencoderKLMochi"):
        MochiVideoCodec.load(config)
