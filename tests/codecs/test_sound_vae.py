"""Sound VAEs with fitted statistics, against diffusers' own encoding and decoding."""

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_codecs import oobleck, same
from torch import Tensor

from talkies.codecs import sound_vae
from talkies.codecs.config import OobleckAudioConfig, SameAudioConfig, SoundVaeConfig
from talkies.codecs.fitted import fitted_identity
from talkies.codecs.load import load_bare, load_codec, save_codec
from talkies.codecs.oobleck import OobleckAudioCodec
from talkies.codecs.same import SameAudioCodec
from talkies.codecs.sound_vae import SoundVae
from talkies.config import DataError, RecipeError

Network = Callable[..., Any]
RATE = 3200
OOBLECK = OobleckAudioConfig(channels=4, hop=32)
SAME = SameAudioConfig(channels=6, hop=64)
KINDS = pytest.mark.parametrize(("made", "config"), [(oobleck, OOBLECK), (same, SAME)], ids=["oobleck", "same"])


def bare(network: Any, config: SoundVaeConfig, folder: Path) -> SoundVae:
    """The codec of a network that was saved as diffusers saves it."""
    network.save_pretrained(folder)
    return load_bare("audio", replace(config, weights=str(folder)))


def sounds(count: int = 3, samples: int = 1000) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(samples, generator=generator).clamp(-1, 1) * 0.5 for _ in range(count)]


def latent_of(network: Any, sound: Tensor) -> Tensor:
    encoded = network.encode(sound)
    return encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mean


@pytest.mark.parametrize(
    ("codec", "config", "hop"),
    [(OobleckAudioCodec, OobleckAudioConfig(), 2048), (SameAudioCodec, SameAudioConfig(), 4096)],
)
def test_the_defaults_are_the_released_sizes(codec: type[SoundVae], config: SoundVaeConfig, hop: int) -> None:
    defaults = {name: one.default for name, one in inspect.signature(codec.model).parameters.items()}
    assert codec.sizes(type("Config", (), defaults)) == {
        "channels": config.channels,
        "sample_rate": config.sample_rate,
        "hop": config.hop,
    }
    assert config.hop == hop


@KINDS
def test_bare_latents_and_sound_are_diffusers_bit_for_bit(
    made: Network, config: SoundVaeConfig, tmp_path: Path
) -> None:
    """Folding weight norm changes nothing, nor does padding that was made before."""
    network, codec = made(), bare(made(), config, tmp_path)
    samples = torch.stack(sounds(2))
    whole = torch.nn.functional.pad(samples, (0, -1000 % config.hop))
    latent = codec.encode(samples)
    assert latent.shape == (2, *codec.grid(1000).latent_shape)
    assert latent.shape[-1] == -(-1000 // config.hop)
    for row in (0, 1):
        assert torch.equal(latent[row : row + 1], latent_of(network, whole[row][None, None]))
        heard = network.decode(latent[row : row + 1]).sample[:, 0]
        assert heard.abs().max() > 0.01
        assert torch.equal(codec.decode(latent[row : row + 1]), heard.clamp(-1, 1))
    assert codec.decode(latent).shape == whole.shape
    assert codec.decode(100 * latent).abs().max() <= 1


@KINDS
def test_a_stereo_network_hears_a_mono_sound_twice(made: Network, config: SoundVaeConfig, tmp_path: Path) -> None:
    network, codec = made(audio_channels=2), bare(made(audio_channels=2), config, tmp_path)
    sound = sounds(1, 20 * config.hop)[0][None]
    latent = codec.encode(sound)
    assert torch.equal(latent, latent_of(network, torch.stack([sound, sound], dim=1)))
    left, right = network.decode(latent).sample[0]
    assert not torch.equal(left, right)
    assert torch.equal(codec.decode(latent)[0], ((left + right) / 2).clamp(-1, 1))


@KINDS
def test_statistics_normalise_each_channel(made: Network, config: SoundVaeConfig, tmp_path: Path) -> None:
    codec = bare(made(), config, tmp_path)
    fitted = codec.fit(sounds())
    latents = torch.cat([fitted.encode(sound[None])[0] for sound in sounds()], dim=1)
    torch.testing.assert_close(latents.mean(1), torch.zeros(config.channels), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std(1, correction=0), torch.ones(config.channels), atol=1e-4, rtol=0)
    raw, normal = (one.encode(sounds()[0][None]) for one in (codec, fitted))
    torch.testing.assert_close(codec.decode(raw), fitted.decode(normal), atol=1e-5, rtol=1e-5)
    assert torch.equal(codec.encode(torch.stack(sounds()))[1:2], codec.encode(sounds()[1][None]))
    with pytest.raises(DataError, match=rf"{config.kind} codec: channel \d of its latents is constant on the 1 clips"):
        codec.fit([torch.zeros(config.hop)])


@KINDS
def test_long_sound_in_pieces_is_as_whole(
    made: Network, config: SoundVaeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound_vae, "PIECE", 1)
    codec = bare(made(sampling_rate=RATE), replace(config, sample_rate=RATE), tmp_path)
    network, heard = codec.network, list[int]()
    encode = codec.latent

    def counted(sound: Tensor) -> Tensor:
        heard.append(sound.shape[-1])
        return encode(sound)

    monkeypatch.setattr(codec, "latent", counted)
    sound = sounds(1, 4 * RATE)[0][None]
    latent = codec.encode(sound)
    assert len(heard) == 4
    assert max(heard) == RATE + 2 * codec.reach(network.config) * config.hop < sound.shape[-1]
    whole = torch.nn.functional.pad(sound, (0, -sound.shape[-1] % config.hop))
    torch.testing.assert_close(latent, latent_of(network, whole[None]), atol=1e-5, rtol=1e-5)
    made_whole = network.decode(latent).sample[:, 0].clamp(-1, 1)
    torch.testing.assert_close(codec.decode(latent), made_whole, atol=1e-5, rtol=1e-5)


def test_the_reach_of_several_levels_of_same_covers_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = {"encoder_strides": (2, 4), "encoder_c_mults": (2, 4), "encoder_transformer_depths": (2, 1)}
    network = same(**levels, sampling_rate=RATE)
    assert SameAudioCodec.reach(network.config) == 2  # two layers that reach 1/4 of a step, and one that reaches one
    codec = bare(network, SameAudioConfig(channels=6, hop=128, sample_rate=RATE), tmp_path)
    sound = sounds(1, 3 * RATE)[0][None]
    whole = codec.encode(sound)
    monkeypatch.setattr(sound_vae, "PIECE", 1)
    torch.testing.assert_close(codec.encode(sound), whole, atol=1e-5, rtol=1e-5)
    assert not torch.equal(codec.encode(sound), whole)


@KINDS
def test_both_parts_are_loaded_and_identified(made: Network, config: SoundVaeConfig, tmp_path: Path) -> None:
    """The fitted part alone tells the identity; the network is checked against its hash when the codec is loaded."""
    codec = bare(made(), config, tmp_path / "one").fit(sounds())
    save_codec(codec, tmp_path / "codecs" / "audio")
    loaded: Any = load_codec("audio", codec.config, tmp_path / "codecs")
    assert loaded.identity == codec.identity == fitted_identity(codec.config, tmp_path / "codecs" / "audio")
    assert torch.equal(loaded.encode(sounds()[0][None]), codec.encode(sounds()[0][None]))
    assert not loaded.network.training
    assert codec.identity not in (bare(made(), config, tmp_path / "one").identity, codec.fit(sounds(2)).identity)
    held = {path.name for path in (tmp_path / "codecs" / "audio").iterdir()}
    assert held == {"config.json", "model.safetensors"}
    assert load_file(tmp_path / "codecs" / "audio" / "model.safetensors").keys() == {"mean", "std", "network"}
    other = made()
    next(other.parameters()).add_(1)
    moved = bare(other, config, tmp_path / "other").config
    assert fitted_identity(moved, tmp_path / "codecs" / "audio") == codec.identity
    with pytest.raises(DataError, match=r"`codecs\.audio\.weights`: .*other holds network .*talkies prepare"):
        load_codec("audio", moved, tmp_path / "codecs")
    with pytest.raises(RecipeError, match=r"`codecs\.audio\.weights` is not set"):
        load_codec("audio", config, tmp_path / "codecs")
    with pytest.raises(RecipeError, match=r"`codecs\.audio`: a .* codec is fitted"):
        load_codec("audio", codec.config, None)
    with pytest.raises(DataError, match=r"no fitted codec in .*audio"):
        load_codec("audio", codec.config, tmp_path)


def test_weight_norm_may_be_folded_in_the_file(tmp_path: Path) -> None:
    codec = bare(oobleck(), OOBLECK, tmp_path)
    save_file(codec.network.state_dict(), tmp_path / "diffusion_pytorch_model.safetensors")
    again = load_bare("audio", codec.config)
    assert again.identity == codec.identity
    assert torch.equal(again.encode(sounds()[0][None]), codec.encode(sounds()[0][None]))


def changed(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"sampling_rate": 48000}, RecipeError, r"`codecs\.audio\.sample_rate` is 44100, the weights have 48000"),
        ({"downsampling_ratios": [2, 4, 8]}, RecipeError, r"`codecs\.audio\.hop` is 32, the weights have 64"),
        ({"downsampling_ratios": [2, 4, 5]}, DataError, r"`downsampling_ratios` has 5: needed are even ones"),
        ({"encoder_hidden_size": 16}, DataError, "`encoder_hidden_size` is 16, needed is twice .*, 8"),
        ({"downsampling_ratios": 4}, DataError, "config.json describes no AutoencoderOobleck"),
        (
            {"_class_name": "AutoencoderSAME"},
            DataError,
            "names .*AutoencoderSAME.*must be AutoencoderOobleck",
        ),
        ({"decoder_channels": 16}, DataError, "has other shapes for"),
    ],
)
def test_errors_name_what_to_change(
    values: dict[str, object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    codec = bare(oobleck(), OOBLECK, tmp_path)
    changed(tmp_path, **values)
    with pytest.raises(error, match=message):
        load_bare("audio", codec.config)


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    codec = bare(oobleck(), OOBLECK, tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").rename(tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(DataError, match=r"diffusion_pytorch_model\.bin.*convert them to safetensors"):
        load_bare("audio", codec.config)
