"""The identity of a codec that is read tensor by tensor is that of the codec in memory."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from made_folders import mova_folder
from safetensors.torch import load_file, save_file
from small_codecs import cogvideox_vae
from transformers import T5Config, T5EncoderModel

from talkies.codecs.config import (
    ByT5TextConfig,
    CogVideoXVideoConfig,
    MovaAudioConfig,
    T5TextConfig,
    Umt5TextConfig,
    WanVideoConfig,
)
from talkies.codecs.load import load_codec
from talkies.codecs.streamed import streamed_identity
from talkies.config import DataError
from talkies.weights.stored import stored


def codec_configs(folder: Path) -> dict[str, Any]:
    return {
        "video": WanVideoConfig(weights=str(folder / "video_vae")),
        "audio": MovaAudioConfig(weights=str(folder / "audio_vae"), channels=4),
        "text": Umt5TextConfig(weights=str(folder), dim=32),
    }


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float16])
def test_it_is_that_of_the_loaded_codec(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = mova_folder(tmp_path / "mova", dtype=dtype)
    for part, config in codec_configs(folder).items():
        loaded = load_codec(part, config, None)
        assert streamed_identity(config, stored, key=f"codecs.{part}") == loaded.identity


@pytest.mark.parametrize("kind", [T5TextConfig, ByT5TextConfig])
def test_it_is_that_of_a_t5_with_and_without_a_tokenizer(tmp_path: Path, kind: Any) -> None:
    folder = mova_folder(tmp_path / "mova")
    shutil.rmtree(folder / "text_encoder")
    T5EncoderModel(T5Config(vocab_size=384, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)).save_pretrained(
        folder / "text_encoder"
    )
    if kind is ByT5TextConfig:
        shutil.rmtree(folder / "tokenizer")
    config = kind(weights=str(folder), dim=32)
    assert streamed_identity(config, stored, key="codecs.text") == load_codec("text", config, None).identity


def test_it_is_that_of_a_vae_with_one_scale(tmp_path: Path) -> None:
    cogvideox_vae().to(torch.bfloat16).save_pretrained(tmp_path)
    config = CogVideoXVideoConfig(weights=str(tmp_path))
    assert streamed_identity(config, stored, key="codecs.video") == load_codec("video", config, None).identity


def rewrite(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("named", ["shared.weight", "encoder.embed_tokens.weight", "both"])
@pytest.mark.parametrize("stated", [True, False])
def test_tied_weights_are_read_by_either_name(tmp_path: Path, named: str, stated: bool) -> None:
    folder = mova_folder(tmp_path / "mova")
    config = codec_configs(folder)["text"]
    before = load_codec("text", config, None).identity
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    table = next(tensors.pop(name) for name in ("shared.weight", "encoder.embed_tokens.weight") if name in tensors)
    names = ["shared.weight", "encoder.embed_tokens.weight"] if named == "both" else [named]
    rewrite(path, tensors | {name: table.clone() for name in names})
    if not stated:
        values = json.loads((path.parent / "config.json").read_text())
        (path.parent / "config.json").write_text(json.dumps({k: v for k, v in values.items() if "dtype" not in k}))
    loaded = load_codec("text", config, None).identity
    assert streamed_identity(config, stored, key="codecs.text") == loaded == before


def test_weight_norm_is_folded(tmp_path: Path) -> None:
    folder = mova_folder(tmp_path / "mova", dtype=torch.float32)
    path = folder / "audio_vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    key = "decoder.model.0.weight"
    weight = tensors.pop(key)
    stem = key.removesuffix("weight")
    rewrite(path, {**tensors, f"{stem}weight_g": weight.norm(dim=(1, 2), keepdim=True), f"{stem}weight_v": 3 * weight})
    config = codec_configs(folder)["audio"]
    loaded = load_codec("audio", config, None).identity
    assert streamed_identity(config, stored, key="codecs.audio") == loaded


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("video", "video_vae/diffusion_pytorch_model.safetensors"),
        ("audio", "audio_vae/diffusion_pytorch_model.safetensors"),
        ("text", "text_encoder/model.safetensors"),
    ],
)
def test_a_missing_or_unknown_tensor_is_named(tmp_path: Path, part: str, file: str) -> None:
    folder = mova_folder(tmp_path / "mova")
    config = codec_configs(folder)[part]
    tensors = load_file(folder / file)
    first = min(tensors)
    rewrite(folder / file, {name: tensor for name, tensor in tensors.items() if name != first})
    with pytest.raises(DataError, match=rf"lacks 1 of .*{first}"):
        streamed_identity(config, stored, key=f"codecs.{part}")
    rewrite(folder / file, {**tensors, "x": torch.zeros(1)})
    with pytest.raises(DataError, match=r"has unknown 1 of .*first: x "):
        streamed_identity(config, stored, key=f"codecs.{part}")
