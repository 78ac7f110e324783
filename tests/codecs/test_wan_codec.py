"""The Wan VAE behind the video protocol, at small random weights."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from small_codecs import wan_vae

from talkies.codecs.config import WanVideoConfig
from talkies.codecs.wan import WanVideoCodec
from talkies.config import DataError, RecipeError

CONFIG = WanVideoConfig()


@pytest.fixture(scope="module")
def codec() -> WanVideoCodec:
    return WanVideoCodec(CONFIG, wan_vae())


def clips(count: int = 1) -> torch.Tensor:
    return torch.rand(count, 5, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def written(folder: Path, **changes: object) -> WanVideoConfig:
    wan_vae().save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return WanVideoConfig(weights=str(folder))


def test_full_size_parameter_count() -> None:
    with torch.device("meta"):
        made = AutoencoderKLWan()
    assert sum(p.numel() for p in made.parameters()) == 126_892_531


def test_latents_are_the_normalised_posterior_mode(codec: WanVideoCodec) -> None:
    frames = clips()
    latent = codec.encode(frames)
    assert latent.shape == (1, *codec.grid(5, 16, 24, 24.0).latent_shape) == (1, 16, 2, 2, 3)
    mode = codec.network.encode(frames.transpose(1, 2)).latent_dist.mode()
    for channel, mean, std in ((0, -0.7571, 2.8184), (15, -0.2921, 1.9160)):
        torch.testing.assert_close(latent[:, channel], (mode[:, channel] - mean) / std)


def test_decoding_undoes_the_normalisation(codec: WanVideoCodec) -> None:
    latent = codec.encode(clips())
    frames = codec.decode(latent)
    assert frames.shape == (1, 5, 3, 16, 24)
    assert frames.abs().max() <= 1
    mode = codec.network.encode(clips().transpose(1, 2)).latent_dist.mode()
    torch.testing.assert_close(frames, codec.network.decode(mode).sample.transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_a_clip_does_not_depend_on_its_batch(codec: WanVideoCodec) -> None:
    frames = clips(2)
    latents = codec.encode(frames)
    assert torch.equal(latents[1:], codec.encode(frames[1:]))
    assert torch.equal(codec.decode(latents)[1:], codec.decode(latents[1:]))


def test_the_first_latent_frame_sees_the_first_frame_only(codec: WanVideoCodec) -> None:
    frames = clips()
    changed = frames.clone()
    changed[:, 1:] = 0
    assert torch.equal(codec.encode(frames)[:, :, 0], codec.encode(changed)[:, :, 0])


@pytest.mark.parametrize("shape", [(1, 6, 3, 16, 24), (1, 5, 3, 20, 24)])
def test_geometry_that_does_not_fit_is_refused(codec: WanVideoCodec, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="nearest"):
        codec.encode(torch.zeros(shape))


def test_loads_a_folder(tmp_path: Path, codec: WanVideoCodec) -> None:
    loaded = WanVideoCodec.load(written(tmp_path))
    assert torch.equal(loaded.encode(clips()), codec.encode(clips()))
    assert loaded.identity == codec.identity


def test_statistics_are_part_of_the_identity(tmp_path: Path, codec: WanVideoCodec) -> None:
    assert WanVideoCodec.load(written(tmp_path, latents_mean=[0.0] * 16)).identity != codec.identity


def test_errors_name_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"`codecs\.video\.weights` is not set.*video_vae/"):
        WanVideoCodec.load(WanVideoConfig())
    folder = written(tmp_path).weights
    with pytest.raises(RecipeError, match=r"`codecs\.video\.channels` is 48, the weights have 16"):
        WanVideoCodec.load(WanVideoConfig(weights=folder, channels=48))
    with pytest.raises(DataError, match="names the network 'AutoencoderKL'"):
        WanVideoCodec.load(written(tmp_path, _class_name="AutoencoderKL"))
    (tmp_path / "config.json").unlink()
    with pytest.raises(DataError, match=r"cannot read .*config\.json"):
        WanVideoCodec.load(WanVideoConfig(weights=folder))
