"""Folders of a released CogVideoX, made with small random values by diffusers' own classes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from cog_toy import sizes
from diffusers import CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from made_folders import VERSION, seeded, spelled_tokenizer, write_json
from small_codecs import cogvideox_vae, t5

from talkies.models.cogvideox.config import CogVideoXConfig

ROPE = CogVideoXConfig(
    layers=3, heads=2, head_dim=16, text_dim=32, text_length=8, time_dim=24, sample_size=(4, 6), sample_frames=9
)
"""With the channels and the text of `small_codecs`."""
KINDS: Mapping[str, CogVideoXConfig] = {
    "5b": ROPE,
    "2b": replace(ROPE, positions="sincos"),
    "5b-i2v": replace(ROPE, positions="learned", in_channels=32),
}
GEOMETRY = "32x48x9@8"
SCHEDULE: Mapping[str, Any] = {
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def cogvideox_folder(
    folder: Path,
    *,
    kind: str = "5b",
    shard_size: str = "40KB",
    dtype: torch.dtype = torch.bfloat16,
    codecs: bool = True,
    seed: int = 0,
) -> Path:
    """A released CogVideoX as diffusers saves it."""
    transformer(KINDS[kind], seed, dtype).save_pretrained(folder / "transformer", max_shard_size=shard_size)
    scheduler = CogVideoXDDIMScheduler(snr_shift_scale=3.0 if kind == "2b" else 1.0, **SCHEDULE)
    scheduler.save_pretrained(folder / "scheduler")
    parts = {"transformer": ["diffusers", "CogVideoXTransformer3DModel"]}
    parts |= {"scheduler": ["diffusers", "CogVideoXDDIMScheduler"]}
    if codecs:
        cogvideox_vae().to(dtype).save_pretrained(folder / "vae")
        t5().to(dtype).save_pretrained(folder / "text_encoder")
        (folder / "tokenizer").mkdir()
        (folder / "tokenizer" / "tokenizer.json").write_text(spelled_tokenizer())
        write_json(folder / "tokenizer" / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"})
        parts |= {"vae": ["diffusers", "AutoencoderKLCogVideoX"]}
        parts |= {"text_encoder": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "T5Tokenizer"]}
    name = "CogVideoXImageToVideoPipeline" if kind == "5b-i2v" else "CogVideoXPipeline"
    write_json(folder / "model_index.json", {"_class_name": name, "_diffusers_version": VERSION, **parts})
    return folder


def transformer(config: CogVideoXConfig, seed: int, dtype: torch.dtype) -> CogVideoXTransformer3DModel:
    """diffusers' network of these sizes, with random values, in its buffer, too."""
    values = seeded(seed, dtype)
    with torch.random.fork_rng():
        made = CogVideoXTransformer3DModel(**sizes(config)).requires_grad_(False).to(dtype)
    for name, tensor in made.state_dict().items():
        tensor.copy_(values(name, tuple(tensor.shape)))
    return made.eval()
