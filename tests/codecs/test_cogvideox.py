"""CogVideoX's VAE behind the video protocol, at small random weights: what diffusers' class makes, and even lengths."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from small_codecs import cogvideox_vae
from torch import Tensor

from talkies.codecs.cogvideox import CogVideoXVideoCodec
from talkies.codecs.config import CogVideoXVideoConfig
from talkies.codecs.load import load_codecs
from talkies.config import DataError, RecipeError

CONFIG = CogVideoXVideoConfig()


@pytest.fixture(scope="module")
def codec() -> CogVideoXVideoCodec:
    return CogVideoXVideoCodec(CONFIG, cogvideox_vae())


def clip(frames: int, clips: int = 1) -> Tensor:
    return torch.rand(clips, frames, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def latent(steps: int) -> Tensor:
    return torch.randn(1, 16, steps, 2, 3, generator=torch.Generator().manual_seed(2))


def test_the_releases_geometry_and_size_are_the_default() -> None:
    with torch.device("meta"):
        made = AutoencoderKLCogVideoX()
    assert CogVideoXVideoCodec.sizes(made.config) == {"channels": 16, "stride": 4, "block": 8}
    assert (CONFIG.channels, CONFIG.stride, CONFIG.block) == (16, 4, 8)
    assert sum(p.numel() for p in made.parameters()) == 215_583_907


@pytest.mark.parametrize("frames", [1, 5, 9, 13, 17, 25])
def test_latents_are_diffusers_times_the_scale(codec: CogVideoXVideoCodec, frames: int) -> None:
    given = clip(frames)
    found = codec.encode(given)
    assert found.shape == (1, *codec.grid(frames, 16, 24, 24.0).latent_shape) == (1, 16, (frames + 3) // 4, 2, 3)
    mode = codec.network.encode(given.transpose(1, 2)).latent_dist.mode()
    torch.testing.assert_close(found, 0.7 * mode, atol=1e-6, rtol=1e-6)


def test_the_scale_is_that_of_the_weights(codec: CogVideoXVideoCodec) -> None:
    """1.15258426 of CogVideoX-2B, and the codec is another one."""
    other = CogVideoXVideoCodec(CONFIG, cogvideox_vae(scaling_factor=1.15258426))
    torch.testing.assert_close(other.encode(clip(5)), codec.encode(clip(5)) / 0.7 * 1.15258426)
    assert other.identity != codec.identity


@pytest.mark.parametrize("steps", [1, 3, 5, 7])
def test_an_odd_number_of_steps_is_decoded_as_by_diffusers(codec: CogVideoXVideoCodec, steps: int) -> None:
    given = latent(steps)
    scaled = given * codec.std + codec.mean
    expected = codec.network.decode(scaled).sample.clamp(-1, 1).transpose(1, 2)
    found = codec.decode(given)
    assert found.shape == (1, 4 * steps - 3, 3, 16, 24)
    assert torch.equal(found, expected)
    parts = [part.shape[2] for part in codec.pictures(scaled[0])]
    assert parts == ([1] if steps == 1 else [9] + [8] * (steps // 2 - 1))


@pytest.mark.parametrize("steps", [2, 4, 6])
def test_an_even_number_is_decoded_with_its_last_step_once_more(codec: CogVideoXVideoCodec, steps: int) -> None:
    """diffusers makes 4 frames of the first step of an even number."""
    given = latent(steps)
    found = codec.decode(given)
    assert found.shape == (1, 4 * steps - 3, 3, 16, 24)
    longer = codec.decode(torch.cat([given, given[:, :, -1:]], dim=2))
    assert torch.equal(found, longer[:, : found.shape[1]])
    assert codec.network.decode(given).sample.shape[2] == 4 * steps


def test_parts_depend_on_no_later_part(codec: CogVideoXVideoCodec) -> None:
    frames, given = clip(25), latent(7)
    assert torch.equal(codec.encode(frames)[:, :, :5], codec.encode(frames[:, :17]))
    assert torch.equal(codec.decode(given)[:, :17], codec.decode(given[:, :, :5]))


def test_a_clip_does_not_depend_on_its_batch(codec: CogVideoXVideoCodec) -> None:
    frames = clip(5, clips=2)
    found = codec.encode(frames)
    assert torch.equal(found[1:], codec.encode(frames[1:]))
    assert torch.equal(codec.decode(found)[1:], codec.decode(found[1:]))


def test_a_still_becomes_two_steps(codec: CogVideoXVideoCodec) -> None:
    assert codec.still_frames == 5
    assert codec.encode(clip(1).expand(-1, 5, -1, -1, -1)).shape == (1, 16, 2, 2, 3)


@pytest.mark.parametrize(("frames", "nearest"), [(48, "45 or 49"), (4, "1 or 5")])
def test_frames_that_do_not_fit_are_refused(codec: CogVideoXVideoCodec, frames: int, nearest: str) -> None:
    with pytest.raises(DataError, match=rf"{frames} frames do not fit codec cogvideox.*nearest: {nearest}"):
        codec.grid(frames, 16, 24, 24.0)


def test_loads_a_folder_and_names_what_is_wrong(tmp_path: Path, codec: CogVideoXVideoCodec) -> None:
    cogvideox_vae().save_pretrained(tmp_path)
    loaded = load_codecs({"video": CogVideoXVideoConfig(weights=str(tmp_path))}, None).video["video"]
    assert torch.equal(loaded.encode(clip(5)), codec.encode(clip(5)))
    assert loaded.identity == codec.identity
    with pytest.raises(RecipeError, match=r"`codecs\.film\.stride` is 2, the weights have 4"):
        load_codecs({"film": CogVideoXVideoConfig(weights=str(tmp_path), stride=2)}, None)
    with pytest.raises(RecipeError, match=r"`codecs\.video\.weights` is not set.*vae/ of a released CogVideoX"):
        load_codecs({"video": CogVideoXVideoConfig()}, None)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": "AutoencoderKLWan"}))
    with pytest.raises(DataError, match=r"'AutoencoderKLWan', and here it must be AutoencoderKLCogVideoX"):
        load_codecs({"video": CogVideoXVideoConfig(weights=str(tmp_path))}, None)
