"""The continuous DAC against the sizes of the released code and against transformers' DAC."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_codecs import dac, dac_config
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from talkies.codecs.config import MovaAudioConfig
from talkies.codecs.dac import Dac, DacShape
from talkies.codecs.mova_dac import MovaAudioCodec
from talkies.codecs.weight_norm import fold_weight_norm
from talkies.config import DataError, RecipeError

CONFIG = MovaAudioConfig(channels=4)


def written(folder: Path, tensors: dict[str, Tensor], **changes: object) -> MovaAudioConfig:
    (folder / "config.json").write_text(json.dumps(dac_config(**changes)))
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    return MovaAudioConfig(weights=str(folder), channels=4)


def test_full_size_matches_the_released_checkpoint() -> None:
    with torch.device("meta"):
        made = Dac(DacShape())
    state = made.state_dict()
    assert sum(p.numel() for p in made.parameters()) == 371_539_137
    assert len(state) == 224
    assert {key.split(".")[0] for key in state} == {"encoder", "quant_conv", "post_quant_conv", "decoder"}
    assert state["encoder.block.0.weight"].shape == (128, 1, 7)
    assert state["encoder.block.1.block.0.block.0.alpha"].shape == (1, 128, 1)
    assert state["encoder.block.2.block.4.weight"].shape == (512, 256, 6)
    assert state["decoder.model.1.block.1.weight"].shape == (2048, 1024, 16)
    assert state["decoder.model.7.weight"].shape == (1, 64, 7)
    assert state["quant_conv.weight"].shape == (256, 128, 1)


def test_round_trip_lengths_of_a_mova_clip() -> None:
    codec = MovaAudioCodec(CONFIG, dac())
    latent = codec.encode(torch.randn(1, 386_000))
    assert latent.shape == (1, 4, 403)
    assert codec.grid(386_000).latent_shape == (4, 403)
    assert codec.grid(386_000).rate == 50
    decoded = codec.decode(latent)
    assert decoded.shape == (1, 386_880)
    assert decoded.abs().max() <= 1


def test_latents_are_the_raw_posterior_mean() -> None:
    made = dac()
    samples = torch.randn(1, 960)
    moments = made.quant_conv(made.encoder(samples[None]))
    assert torch.equal(MovaAudioCodec(CONFIG, made).encode(samples), moments[:, :4])


def test_padding_is_silence_on_the_right() -> None:
    codec = MovaAudioCodec(CONFIG, dac())
    samples = torch.randn(1, 1000)
    padded = torch.cat([samples, torch.zeros(1, 920)], dim=1)
    assert torch.equal(codec.encode(samples), codec.encode(padded))


def test_a_clip_does_not_depend_on_its_batch() -> None:
    codec = MovaAudioCodec(CONFIG, dac())
    samples = torch.randn(3, 1920)
    latents = codec.encode(samples)
    assert torch.equal(latents[1:2], codec.encode(samples[1:2]))
    assert torch.equal(codec.decode(latents)[2:], codec.decode(latents[2:]))


def test_equals_transformers_dac_weight_for_weight() -> None:
    """Even rates: transformers' decoder has no output padding, so it cannot undo odd ones."""
    from transformers import DacConfig
    from transformers.models.dac.modeling_dac import DacDecoder, DacEncoder

    config = DacConfig(
        encoder_hidden_size=4,
        downsampling_ratios=[2, 4],
        decoder_hidden_size=16,
        upsampling_ratios=[4, 2],
        hidden_size=6,
    )
    ours = dac(DacShape(encoder_dim=4, encoder_rates=(2, 4), latent_dim=6, decoder_dim=16, decoder_rates=(4, 2)))
    for mine, theirs in ((ours.encoder, DacEncoder(config)), (ours.decoder, DacDecoder(config))):
        theirs.load_state_dict(dict(zip(theirs.state_dict(), mine.state_dict().values(), strict=True)))
        given = torch.randn(2, 1 if mine is ours.encoder else 6, 64)
        torch.testing.assert_close(mine(given), theirs(given), rtol=1e-5, atol=1e-6)


def test_loads_a_released_folder(tmp_path: Path) -> None:
    made = dac()
    config = written(tmp_path, made.state_dict())
    codec = MovaAudioCodec.load(config)
    samples = torch.randn(1, 2000)
    assert torch.equal(codec.encode(samples), MovaAudioCodec(config, made).encode(samples))
    assert codec.identity == MovaAudioCodec(CONFIG, made).identity
    assert not codec.network.training


@pytest.mark.parametrize("spelling", ["weight_g", "original0"])
def test_folds_weight_norm(tmp_path: Path, spelling: str) -> None:
    """An original has weight norm on every convolution but the two 1x1 ones around the latent."""
    made = dac()
    plain = {key: value.clone() for key, value in made.state_dict().items()}
    for name, module in made.named_modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d) and "quant_conv" not in name:
            weight_norm(module)
    state = {key: value.clone() for key, value in made.state_dict().items()}
    if spelling == "weight_g":
        for old, new in (
            ("parametrizations.weight.original0", "weight_g"),
            ("parametrizations.weight.original1", "weight_v"),
        ):
            state = {key.replace(old, new): value for key, value in state.items()}
    assert any(key.endswith(spelling) for key in state)
    folded = fold_weight_norm(state)
    assert folded.keys() == plain.keys()
    for key, value in plain.items():
        torch.testing.assert_close(folded[key], value, rtol=1e-5, atol=1e-7)
    samples = torch.randn(1, 960)
    expected = made.mode(samples[None])
    torch.testing.assert_close(MovaAudioCodec.load(written(tmp_path, state)).encode(samples), expected)


def test_half_a_weight_norm_pair_is_refused() -> None:
    with pytest.raises(DataError, match="weight_v"):
        fold_weight_norm({"encoder.block.0.weight_g": torch.ones(2, 1, 1)})


def test_errors_name_what_to_change(tmp_path: Path) -> None:
    state = dac().state_dict()
    with pytest.raises(RecipeError, match=r"`codecs\.audio\.weights` is not set.*config\.json"):
        MovaAudioCodec.load(MovaAudioConfig())
    with pytest.raises(RecipeError, match=r"`codecs\.audio\.weights`: .*not a folder"):
        MovaAudioCodec.load(MovaAudioConfig(weights=str(tmp_path / "missing")))
    with pytest.raises(RecipeError, match=r"`codecs\.audio\.channels` is 128, the weights have 4"):
        MovaAudioCodec.load(MovaAudioConfig(weights=written(tmp_path, state).weights))
    with pytest.raises(RecipeError, match=r"`codecs\.audio\.sample_rate` is 48000, the weights have 44100"):
        MovaAudioCodec.load(written(tmp_path, state, sample_rate=44100))
    with pytest.raises(DataError, match="continuous False"):
        MovaAudioCodec.load(written(tmp_path, state, continuous=False))
    del state["quant_conv.bias"]
    with pytest.raises(DataError, match=r"lacks 1 of 224 tensors; first: quant_conv\.bias"):
        MovaAudioCodec.load(written(tmp_path, state))


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(dac_config()))
    (tmp_path / "vae_128d_48k.pth").write_bytes(b"anything")
    with pytest.raises(DataError, match=r"vae_128d_48k\.pth.*convert them to safetensors"):
        MovaAudioCodec.load(MovaAudioConfig(weights=str(tmp_path), channels=4))
