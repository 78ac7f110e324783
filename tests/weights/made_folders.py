"""Folders of released weights, made with small random values: MOVA, and Wan2.2-I2V-A14B in two spellings of its names.

The names of tensors are spelled out here, and not taken from the networks of talkies, which they test.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UniPCMultistepScheduler, WanTransformer3DModel
from safetensors.torch import save_file
from small_codecs import dac, dac_config, spelled_tokenizer, umt5, wan_vae
from torch import Tensor

from talkies.models.mova.config import BridgeConfig, MovaShape
from talkies.models.wan.config import TowerConfig

Shapes = dict[str, tuple[int, ...]]
Values = Callable[[str, tuple[int, ...]], Tensor]
VERSION = "0.35.0"
VIDEO = TowerConfig(
    dim=48, ffn_dim=80, heads=2, layers=3, patch=(1, 2, 2), in_channels=36, out_channels=16, text_dim=32, freq_dim=16
)
AUDIO = TowerConfig(
    dim=24, ffn_dim=40, heads=1, layers=2, patch=(1,), in_channels=4, out_channels=4, text_dim=32, freq_dim=16
)
SIZES = MovaShape(video=VIDEO, audio=AUDIO, bridge=BridgeConfig(layers=2, rate=50.0))
"""Small, with the channels and text of `small_codecs`."""
MOVA_PARTS = {
    "video_dit": ["mova.diffusion.models.wan_video_dit", "WanModel"],
    "video_dit_2": ["mova.diffusion.models.wan_video_dit", "WanModel"],
    "audio_dit": ["mova.diffusion.models.wan_audio_dit", "WanAudioModel"],
    "dual_tower_bridge": ["mova.diffusion.models.interactionv2", "DualTowerConditionalBridge"],
    "video_vae": ["diffusers", "AutoencoderKLWan"],
    "audio_vae": ["mova.diffusion.models.dac_vae", "DAC"],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
    "tokenizer": ["transformers", "T5TokenizerFast"],
    "scheduler": ["mova.diffusion.schedulers.flow_match_pair", "FlowMatchPairScheduler"],
}
WAN_PARTS = {
    "transformer": ["diffusers", "WanTransformer3DModel"],
    "transformer_2": ["diffusers", "WanTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLWan"],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
    "tokenizer": ["transformers", "T5TokenizerFast"],
    "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    "image_encoder": [None, None],
    "image_processor": [None, None],
}


def tower_shapes(tower: TowerConfig) -> Shapes:
    """The tensors of a tower under Wan's names: 15 and 27 per block."""
    d, f = tower.dim, tower.ffn_dim
    found: Shapes = {"head.modulation": (1, 2, d)}
    found |= _linear("text_embedding.0", tower.text_dim, d) | _linear("text_embedding.2", d, d)
    found |= _linear("time_embedding.0", tower.freq_dim, d) | _linear("time_embedding.2", d, d)
    found |= _linear("time_projection.1", d, 6 * d) | _linear("head.head", d, tower.out_channels * tower.patch_volume)
    found |= {"patch_embedding.weight": (d, tower.in_channels, *tower.patch), "patch_embedding.bias": (d,)}
    for i in range(tower.layers):
        block = f"blocks.{i}"
        found |= _attention(f"{block}.self_attn", d, d) | _attention(f"{block}.cross_attn", d, d)
        found |= _linear(f"{block}.ffn.0", d, f) | _linear(f"{block}.ffn.2", f, d)
        found |= {f"{block}.norm3.weight": (d,), f"{block}.norm3.bias": (d,), f"{block}.modulation": (1, 6, d)}
    return found


def bridge_shapes(sizes: MovaShape) -> Shapes:
    """The tensors of the Bridge: 12 per layer and direction."""
    video, audio = sizes.video.dim, sizes.audio.dim
    found: Shapes = {}
    for i in range(sizes.bridge.layers):
        for name, dim, memory in (("audio_to_video", video, audio), ("video_to_audio", audio, video)):
            key = f"{name}_conditioners.{i}"
            found |= {f"{key}.y_norm.weight": (memory,), f"{key}.y_norm.bias": (memory,)}
            found |= _attention(f"{key}.inner", dim, memory)
    return found


def _linear(key: str, inner: int, outer: int) -> Shapes:
    return {f"{key}.weight": (outer, inner), f"{key}.bias": (outer,)}


def _attention(key: str, dim: int, memory: int) -> Shapes:
    found = _linear(f"{key}.q", dim, dim) | _linear(f"{key}.o", dim, dim)
    found |= _linear(f"{key}.k", memory, dim) | _linear(f"{key}.v", memory, dim)
    return found | {f"{key}.norm_q.weight": (dim,), f"{key}.norm_k.weight": (dim,)}


def seeded(seed: int, dtype: torch.dtype = torch.bfloat16) -> Values:
    """Random values: weights of norms around 1, matrices that keep the size of what they multiply."""
    generator = torch.Generator().manual_seed(seed)

    def make(key: str, shape: torch.Size) -> Tensor:
        scale = shape[1:].numel() ** -0.5 if len(shape) > 1 else 0.2
        value = torch.randn(shape, generator=generator) * scale
        return (value + 1 if "norm" in key and key.endswith("weight") else value).to(dtype)

    return lambda key, shape: make(key, torch.Size(shape))


def write_weights(folder: Path, shapes: Shapes, values: Values, *, shards: int = 1, config: Mapping[str, Any]) -> None:
    """What diffusers' save_pretrained writes: config.json and one file, or shards and their index."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {"_diffusers_version": VERSION, **config})
    name = "diffusion_pytorch_model"
    if shards == 1:
        made = {key: values(key, shape) for key, shape in shapes.items()}
        save_file(made, folder / f"{name}.safetensors", metadata={"format": "pt"})
        return
    keys, total, weight_map = sorted(shapes), 0, {}
    for shard in range(shards):
        file = f"{name}-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = keys[shard * len(keys) // shards : (shard + 1) * len(keys) // shards]
        made = {key: values(key, shapes[key]) for key in part}
        save_file(made, folder / file, metadata={"format": "pt"})
        total += sum(tensor.nbytes for tensor in made.values())
        weight_map |= dict.fromkeys(part, file)
    write_json(folder / f"{name}.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """As diffusers spells it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


def tower_config(tower: TowerConfig) -> dict[str, Any]:
    """What the config.json files of MOVA's towers share."""
    return {
        "dim": tower.dim,
        "ffn_dim": tower.ffn_dim,
        "num_heads": tower.heads,
        "num_layers": tower.layers,
        "patch_size": list(tower.patch),
        "in_dim": tower.in_channels,
        "out_dim": tower.out_channels,
        "text_dim": tower.text_dim,
        "freq_dim": tower.freq_dim,
        "eps": tower.eps,
        "has_image_input": False,
    }


def video_config(tower: TowerConfig) -> dict[str, Any]:
    """config.json of video_dit and video_dit_2."""
    return {
        **tower_config(tower),
        "_class_name": "WanModel",
        "has_image_pos_emb": False,
        "has_ref_conv": False,
        "seperated_timestep": False,  # upstream's spelling
        "require_vae_embedding": True,
        "require_clip_embedding": False,
        "fuse_vae_embedding_in_latents": False,
    }


def audio_config(tower: TowerConfig) -> dict[str, Any]:
    """config.json of audio_dit."""
    return {**tower_config(tower), "_class_name": "WanAudioModel", "vae_type": "dac"}


def bridge_config(sizes: MovaShape) -> dict[str, Any]:
    """config.json of dual_tower_bridge."""
    return {
        "_class_name": "DualTowerConditionalBridge",
        "visual_layers": sizes.video.layers,
        "audio_layers": sizes.audio.layers,
        "visual_hidden_dim": sizes.video.dim,
        "audio_hidden_dim": sizes.audio.dim,
        "audio_fps": sizes.bridge.rate,
        "head_dim": sizes.video.head_dim,
        "interaction_strategy": "full",
        "apply_cross_rope": True,
        "apply_first_frame_bias_in_rope": False,
        "trainable_condition_scale": False,
        "pooled_adaln": False,
        "eps": sizes.bridge.eps,
    }


def wan_config(tower: TowerConfig) -> dict[str, Any]:
    """config.json of high_noise_model and low_noise_model. Wan's class has no `text_dim` there: it is always 4096."""
    return {
        "_class_name": "WanModel",
        "model_type": "i2v",
        "dim": tower.dim,
        "eps": tower.eps,
        "ffn_dim": tower.ffn_dim,
        "freq_dim": tower.freq_dim,
        "in_dim": tower.in_channels,
        "num_heads": tower.heads,
        "num_layers": tower.layers,
        "out_dim": tower.out_channels,
        "text_len": 512,
        **({} if tower.text_dim == 4096 else {"text_dim": tower.text_dim}),
    }


SCHEDULER: dict[str, Any] = {
    "_class_name": "FlowMatchPairScheduler",
    "_diffusers_version": VERSION,
    "num_train_timesteps": 1000,
    "shift": 5.0,
    "sigma_min": 0.0,
    "sigma_max": 1.0,
    "extra_one_step": True,
}


def mova_folder(
    folder: Path,
    *,
    sizes: MovaShape = SIZES,
    shards: int = 3,
    dtype: torch.dtype = torch.bfloat16,
    codecs: bool = True,
    seed: int = 0,
) -> Path:
    """A released MOVA."""
    video = tower_shapes(sizes.video)
    for n, name in enumerate(("video_dit", "video_dit_2")):
        config = video_config(sizes.video)
        write_weights(folder / name, video, seeded(seed + n, dtype), shards=shards, config=config)
    audio = tower_shapes(sizes.audio)
    write_weights(folder / "audio_dit", audio, seeded(seed + 2, dtype), config=audio_config(sizes.audio))
    bridge = bridge_shapes(sizes)
    write_weights(folder / "dual_tower_bridge", bridge, seeded(seed + 3, dtype), config=bridge_config(sizes))
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    if codecs:
        wan_vae().to(dtype).save_pretrained(folder / "video_vae")
        text_parts(folder, dtype)
        audio_vae(folder / "audio_vae", dtype)
    index = {"_class_name": "MOVA", "_diffusers_version": VERSION, "audio_vae_type": "dac", "boundary_ratio": 0.9}
    found = {name: part for name, part in MOVA_PARTS.items() if (folder / name).is_dir()}
    write_json(folder / "model_index.json", {**index, **found})
    return folder


def audio_vae(folder: Path, dtype: torch.dtype) -> None:
    """The DAC, with weight norm folded."""
    folder.mkdir(parents=True)
    unused = {"codebook_size": 1024, "codebook_dim": 8, "use_weight_norm": False, "_diffusers_version": VERSION}
    write_json(folder / "config.json", dac_config(**unused))
    tensors = {key: tensor.to(dtype) for key, tensor in dac().state_dict().items()}
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})


def text_parts(folder: Path, dtype: torch.dtype) -> None:
    """text_encoder/ and tokenizer/."""
    umt5().to(dtype).save_pretrained(folder / "text_encoder")
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "tokenizer.json").write_text(spelled_tokenizer())
    write_json(folder / "tokenizer" / "tokenizer_config.json", {"tokenizer_class": "T5TokenizerFast"})


def wan_folder(
    folder: Path,
    *,
    tower: TowerConfig = VIDEO,
    shards: int = 3,
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
) -> Path:
    """Wan2.2-I2V-A14B under Wan's own names. (Its codecs are pickles: `talkies import --pickle` reads such files.)"""
    for n, name in enumerate(("high_noise_model", "low_noise_model")):
        config = wan_config(tower)
        write_weights(folder / name, tower_shapes(tower), seeded(seed + n, dtype), shards=shards, config=config)
    write_json(folder / "configuration.json", {"framework": "Pytorch", "task": "image-to-video"})
    return folder


def diffusers_folder(
    folder: Path,
    *,
    tower: TowerConfig = VIDEO,
    shard_size: str = "100KB",
    dtype: torch.dtype = torch.bfloat16,
    codecs: bool = True,
    seed: int = 0,
) -> Path:
    """Wan2.2-I2V-A14B as diffusers saves it."""
    for n, name in enumerate(("transformer", "transformer_2")):
        made = transformer(tower, seeded(seed + n, dtype)).to(dtype)
        made.save_pretrained(folder / name, max_shard_size=shard_size)
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    scheduler.save_pretrained(folder / "scheduler")
    if codecs:
        wan_vae().to(dtype).save_pretrained(folder / "vae")
        text_parts(folder, dtype)
    found = {name: part for name, part in WAN_PARTS.items() if (folder / name).is_dir() or part == [None, None]}
    index = {"_class_name": "WanImageToVideoPipeline", "_diffusers_version": VERSION, "boundary_ratio": 0.9}
    write_json(folder / "model_index.json", {**index, **found})
    return folder


def transformer(tower: TowerConfig, values: Values) -> WanTransformer3DModel:
    """diffusers' network of a tower's sizes."""
    with torch.random.fork_rng():
        made = unfilled(tower).requires_grad_(False)
    for name, parameter in made.named_parameters():
        parameter.copy_(values(name, tuple(parameter.shape)))
    return made.eval()


def unfilled(tower: TowerConfig) -> WanTransformer3DModel:
    """With the values that diffusers draws."""
    return WanTransformer3DModel(
        patch_size=tower.patch,
        num_attention_heads=tower.heads,
        attention_head_dim=tower.head_dim,
        in_channels=tower.in_channels,
        out_channels=tower.out_channels,
        text_dim=tower.text_dim,
        freq_dim=tower.freq_dim,
        ffn_dim=tower.ffn_dim,
        num_layers=tower.layers,
        eps=tower.eps,
    )


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
