"""Coding in tiles: what one tile covers is bitwise the whole; the error of several is bounded."""

from functools import cache
from itertools import pairwise

import pytest
import torch
from diffusers import AutoencoderKLMochi, AutoencoderKLWan
from small_codecs import cogvideox_vae
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from talkies.codecs.cogvideox import CogVideoXVideoCodec
from talkies.codecs.config import CogVideoXVideoConfig, MochiVideoConfig, WanVideoConfig
from talkies.codecs.mochi import MochiVideoCodec
from talkies.codecs.tiles import begins, in_tiles
from talkies.codecs.video_vae import VideoVae
from talkies.codecs.wan import WanVideoCodec


@cache
def codec(kind: str) -> VideoVae:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "wan":
            network = AutoencoderKLWan(base_dim=4, z_dim=16, num_res_blocks=1).requires_grad_(False)
            return WanVideoCodec(WanVideoConfig(), network)
        if kind == "cogvideox":
            return CogVideoXVideoCodec(CogVideoXVideoConfig(), cogvideox_vae())
        widths = {"encoder_block_out_channels": (32,) * 4, "decoder_block_out_channels": (32,) * 4}
        return MochiVideoCodec(MochiVideoConfig(), AutoencoderKLMochi(**widths, layers_per_block=(1,) * 5))


def latent(kind: str, height: int = 12, width: int = 16, clips: int = 1) -> Tensor:
    shape = (clips, 12, 5) if kind == "mochi" else (clips, 16, 3)
    return torch.randn(*shape, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("length", range(1, 60))
@pytest.mark.parametrize(("size", "overlap"), [(8, 0), (8, 1), (8, 4), (5, 2)])
def test_the_fewest_tiles_cover_everything(length: int, size: int, overlap: int) -> None:
    found = begins(length, size, overlap)
    assert found[0] == 0
    assert found[-1] + size >= length
    assert found[-1] == max(0, length - size)
    steps = [b - a for a, b in pairwise(found)]
    assert all(0 < step <= size - overlap for step in steps)
    assert len(found) == 1 or (len(found) - 1) * (size - overlap) + overlap < length


@pytest.mark.parametrize(("size", "overlap"), [(4, 0), (4, 1), (4, 2), (6, 3), (9, 2)])
def test_a_codec_without_context_is_exact(size: int, overlap: int) -> None:
    """Weights add up to 1, at whatever place a tile lies."""

    def decode(piece: Tensor) -> Tensor:
        return piece[None, :3].repeat_interleave(2, -1).repeat_interleave(2, -2)

    whole = torch.randn(5, 2, 11, 23, generator=torch.Generator().manual_seed(0))
    found = in_tiles(whole, decode, size=size, overlap=overlap, made=2)
    torch.testing.assert_close(found, decode(whole), rtol=0, atol=1e-6)

    def encode(pictures: Tensor) -> Tensor:
        return avg_pool2d(pictures, 4)[None]

    pictures = torch.randn(5, 2, 44, 92, generator=torch.Generator().manual_seed(0))
    found = in_tiles(pictures, encode, size=size, overlap=overlap, given=4)
    torch.testing.assert_close(found, encode(pictures), rtol=0, atol=1e-6)


def pictures(kind: str, height: int = 96, width: int = 128, clips: int = 1) -> Tensor:
    """Smooth ones, as far as noise can be."""
    frames = 25 if kind == "mochi" else 9
    coarse = torch.randn(clips * frames, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(2))
    smooth = interpolate(coarse, scale_factor=8, mode="bilinear")
    return smooth.clamp(-1, 1).view(clips, frames, 3, height, width)


@pytest.mark.parametrize("kind", ["wan", "mochi", "cogvideox"])
def test_one_tile_changes_no_latent(kind: str) -> None:
    """And none of Mochi's and CogVideoX's, whose norms need the whole picture."""
    vae, frames = codec(kind), pictures(kind, 32, 48, clips=2)
    whole = vae.encode(frames)
    assert torch.equal(vae.encode(frames, (48, 16)), whole)
    tiled = vae.encode(frames, (32, 16))
    assert tiled.shape == whole.shape
    assert torch.equal(tiled, whole) == (kind != "wan")


ENCODING = {0: 0.12, 16: 0.075, 32: 0.06}
"""Bounds on the RMS error of latents in tiles of 64 pixels, in their deviation, by overlap."""


@pytest.mark.slow
def test_the_error_of_encoding_in_tiles_falls_with_their_overlap() -> None:
    vae, frames = codec("wan"), pictures("wan")
    whole = vae.encode(frames)
    errors = {o: float((vae.encode(frames, (64, o)) - whole).square().mean().sqrt() / whole.std()) for o in ENCODING}
    assert all(errors[o] <= bound for o, bound in ENCODING.items()), errors
    assert list(errors.values()) == sorted(errors.values(), reverse=True)


@pytest.mark.parametrize("kind", ["wan", "mochi", "cogvideox"])
def test_a_film_is_what_decoding_makes_and_one_tile_changes_nothing(kind: str) -> None:
    vae, z = codec(kind), latent(kind, 4, 6, clips=2)
    whole = vae.decode(z)
    assert torch.equal(vae.film(z), whole)
    assert torch.equal(vae.film(z, (48, 16)), whole)
    assert not torch.equal(vae.film(z, (32, 16)), whole)
    assert vae.film(z, (32, 16)).shape == whole.shape


def test_parts_of_wan_are_what_diffusers_joins() -> None:
    vae, z = codec("wan"), latent("wan", 4, 6)
    scaled = z * vae.std + vae.mean
    assert torch.equal(vae.decode(z).transpose(1, 2), vae.network.decode(scaled).sample)
    assert [part.shape[2] for part in vae.pictures(scaled[0])] == [1, 4, 4]


BOUNDS = {
    "wan": {0: 0.16, 8: 0.12, 16: 0.11, 32: 0.105},
    "mochi": {0: 0.06, 8: 0.04, 16: 0.034, 32: 0.032},
    "cogvideox": {0: 0.09, 8: 0.056, 16: 0.05, 32: 0.048},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOUNDS)
def test_the_error_of_tiles_falls_with_their_overlap(kind: str) -> None:
    """RMS, where full scale is 2: noise, decoded by random weights in tiles of 64 of 96x128 pixels. Wan's deviates by
    0.33, Mochi's by 0.16, CogVideoX's by 0.37: attention, or group norms, see the tile instead of the picture."""
    vae, z = codec(kind), latent(kind)
    whole = vae.decode(z)
    errors = {o: float((vae.film(z, (64, o)) - whole).square().mean().sqrt()) for o in BOUNDS[kind]}
    assert all(errors[o] <= bound for o, bound in BOUNDS[kind].items())
    assert list(errors.values()) == sorted(errors.values(), reverse=True)
