"""Small random codecs of the released kinds: video VAEs, the continuous DAC, sound VAEs, UMT5 with its
tokenizer."""

import warnings
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX, AutoencoderKLWan, AutoencoderOobleck, AutoencoderSAME
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

from talkies.codecs.dac import Dac, DacShape, Snake

WORDS = ["<pad>", "</s>", "<unk>", "▁", "▁a", "▁red", "▁face", "▁speaks", "▁&", "s"]
NARROW = DacShape(encoder_dim=2, latent_dim=4, decoder_dim=64)


def wan_vae() -> AutoencoderKLWan:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoencoderKLWan(base_dim=4, z_dim=16, num_res_blocks=1).requires_grad_(False)


def cogvideox_vae(**changes: Any) -> AutoencoderKLCogVideoX:
    """With the scale of CogVideoX-5B, unless that is changed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"block_out_channels": (32,) * 4, "layers_per_block": 1, "scaling_factor": 0.7}
        return AutoencoderKLCogVideoX(**sizes | changes).requires_grad_(False)


def dac(shape: DacShape = NARROW) -> Dac:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Dac(shape)
        for module in made.modules():
            if isinstance(module, Snake):
                nn.init.uniform_(module.alpha, 0.5, 2.0)
    return made.requires_grad_(False)


def oobleck(**changes: Any) -> AutoencoderOobleck:
    """4 channels, hops of 32 samples; mono, unless that is changed."""
    sizes: dict[str, Any] = {
        "encoder_hidden_size": 8, "decoder_input_channels": 4, "decoder_channels": 8, "downsampling_ratios": [2, 4, 4],
        "channel_multiples": [1, 2, 4], "audio_channels": 1,
    }  # fmt: skip
    return _random(AutoencoderOobleck, **sizes | changes)


def same(**changes: Any) -> AutoencoderSAME:
    """6 channels, hops of 64 samples; mono, unless that is changed."""
    sizes: dict[str, Any] = {
        "patch_size": 16, "encoder_channels": 8, "encoder_c_mults": (2,), "encoder_strides": (4,), "latent_dim": 6,
        "encoder_transformer_depths": (2,), "decoder_sinusoidal_blocks": (1,), "dim_heads": 8, "audio_channels": 1,
    }  # fmt: skip
    return _random(AutoencoderSAME, **sizes | changes)


def _random(model: Any, **sizes: Any) -> Any:
    """With values where a new network has zeros."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # weight norm in torch's older way
        torch.manual_seed(0)
        made = model(**sizes).requires_grad_(False).eval()
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return made


def dac_config(**changes: object) -> dict[str, object]:
    """config.json as the released folder spells it, with the narrow widths."""
    values: dict[str, object] = {
        "_class_name": "DAC", "sample_rate": 48000, "encoder_dim": 2, "encoder_rates": [2, 3, 4, 5, 8], "latent_dim": 4,
        "decoder_dim": 64, "decoder_rates": [8, 5, 4, 3, 2], "continuous": True, "n_codebooks": 9,
    }  # fmt: skip
    return values | changes


def spelled_tokenizer(*, ends: bool = True) -> str:
    """A T5-like unigram tokenizer as tokenizer.json, with truncation and padding on, as a saved one may have them."""
    tokenizer = Tokenizer(models.Unigram([(word, -float(i)) for i, word in enumerate(WORDS)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    if ends:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=5)
    return str(tokenizer.to_str())


def umt5() -> UMT5EncoderModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = UMT5Config(
            vocab_size=len(WORDS),
            d_model=32,
            d_kv=8,
            d_ff=48,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.5,
            pad_token_id=0,
        )
        return UMT5EncoderModel(config)


def t5(vocabulary: int = len(WORDS)) -> T5EncoderModel:
    """32 wide; with the 384 tokens of ByT5, a small one of those."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=vocabulary,
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
        )
        return T5EncoderModel(config)
