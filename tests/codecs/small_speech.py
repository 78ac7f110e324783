"""Small random speech encoders, saved as their releases are."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2ForCTC, WhisperConfig, WhisperModel

WAVE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 8,
}
WHISPER = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_mel_bins": 16,
    "max_source_positions": 100,  # 2 s
    "max_target_positions": 8,
    "vocab_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}


def network(kind: str, **changes: Any) -> Any:
    """A network of one kind; wav2vec 2.0 with the head for transcription that its releases have. `changes` of its
    sizes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "whisper":
            made: Any = WhisperModel(WhisperConfig(**{**WHISPER, **changes}))
        elif kind == "hubert":
            made = HubertModel(HubertConfig(**{**WAVE, **changes}))
        else:
            made = Wav2Vec2ForCTC(Wav2Vec2Config(**{**WAVE, **changes}))
        return made.eval()


def written(folder: Path, kind: str, **changes: Any) -> Path:
    """The folder of a network, with `changes` of its preprocessor_config.json."""
    network(kind).save_pretrained(folder)
    if kind != "whisper":
        values = {"do_normalize": True, "sampling_rate": 16000, **changes}
        (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return folder


def voice(seconds: float, *, seed: int = 0) -> torch.Tensor:
    """A glide with syllables [S] at 16 kHz."""
    count = round(16000 * seconds)
    generator = torch.Generator().manual_seed(seed)
    level = torch.rand(count // 1600 + 1, generator=generator).repeat_interleave(1600)[:count]
    return 0.3 * level * torch.sin(0.05 * torch.arange(count) * (1 + torch.arange(count) / 160_000))
