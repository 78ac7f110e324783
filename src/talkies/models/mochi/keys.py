"""Mochi-1's weights under the names of our network, from Genmo's names or diffusers'.

What differs besides names: fused projections are several of ours (the two sources have the halves of the SwiGLU, and
of the final modulation, in opposite orders); the patch embedding gets an axis for time; and Mochi predicts data -
noise, so the last layer's sign is turned. Mochi's time, 1000 (1 - sigma), is the network's own.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from talkies.config import CheckpointError
from talkies.config.quoting import listed, named
from talkies.models.mochi.config import JointShape
from talkies.models.mochi.network import JointDiT

Rule = tuple[str, tuple[str, ...]]
"""Beginning of their key, a pattern -> the beginnings of ours that get equal parts of it, in order."""

_BOTH: tuple[Rule, ...] = ((r"pos_frequencies$", ("video.rope.frequencies",)),)


def _layers(prefix: str, modality: str, names: Mapping[str, tuple[str, ...]]) -> tuple[Rule, ...]:
    return tuple(
        (rf"{prefix}\.(\d+)\.{theirs}\.", tuple(rf"{modality}.blocks.\1.{part}." for part in ours))
        for theirs, ours in names.items()
    )


def _genmo(letter: str) -> dict[str, tuple[str, ...]]:
    return {
        f"mod_{letter}": ("enter.modulation",),
        rf"attn\.qkv_{letter}": ("enter.attn.q", "enter.attn.k", "enter.attn.v"),
        rf"attn\.([qk])_norm_{letter}": (r"enter.attn.norm_\2",),
        rf"attn\.proj_{letter}": ("leave.o",),
        rf"mlp_{letter}\.w1": ("leave.mlp.gate", "leave.mlp.up"),
        rf"mlp_{letter}\.w2": ("leave.mlp.down",),
    }


_GENMO: tuple[Rule, ...] = (
    *_BOTH,
    (r"x_embedder\.proj\.", ("video.embedding.",)),
    (r"t_embedder\.mlp\.([02])\.", (r"video.time_embedding.\1.",)),
    (r"t5_y_embedder\.to_kv\.", ("text.pool.k.", "text.pool.v.")),
    (r"t5_y_embedder\.to_q\.", ("text.pool.q.",)),
    (r"t5_y_embedder\.to_out\.", ("text.pool.o.",)),
    (r"t5_yproj\.", ("text.projection.",)),
    (r"final_layer\.mod\.", ("video.final.shift.", "video.final.scale.")),
    (r"final_layer\.linear\.", ("video.final.head.",)),
    *_layers("blocks", "video", _genmo("x")),
    *_layers("blocks", "text", _genmo("y")),
)

_DIFFUSERS: tuple[Rule, ...] = (
    *_BOTH,
    (r"patch_embed\.proj\.", ("video.embedding.",)),
    (r"time_embed\.timestep_embedder\.linear_1\.", ("video.time_embedding.0.",)),
    (r"time_embed\.timestep_embedder\.linear_2\.", ("video.time_embedding.2.",)),
    (r"time_embed\.pooler\.to_kv\.", ("text.pool.k.", "text.pool.v.")),
    (r"time_embed\.pooler\.to_q\.", ("text.pool.q.",)),
    (r"time_embed\.pooler\.to_out\.", ("text.pool.o.",)),
    (r"time_embed\.caption_proj\.", ("text.projection.",)),
    (r"norm_out\.linear\.", ("video.final.scale.", "video.final.shift.")),
    (r"proj_out\.", ("video.final.head.",)),
    *_layers(
        "transformer_blocks",
        "video",
        {
            r"norm1\.linear": ("enter.modulation",),
            r"attn1\.to_([qkv])": (r"enter.attn.\2",),
            r"attn1\.norm_([qk])": (r"enter.attn.norm_\2",),
            r"attn1\.to_out\.0": ("leave.o",),
            r"ff\.net\.0\.proj": ("leave.mlp.up", "leave.mlp.gate"),
            r"ff\.net\.2": ("leave.mlp.down",),
        },
    ),
    *_layers(
        "transformer_blocks",
        "text",
        {
            r"norm1_context\.linear(?:_1)?": ("enter.modulation",),  # the last block has linear_1
            r"attn1\.add_([qkv])_proj": (r"enter.attn.\2",),
            r"attn1\.norm_added_([qk])": (r"enter.attn.norm_\2",),
            r"attn1\.to_add_out": ("leave.o",),
            r"ff_context\.net\.0\.proj": ("leave.mlp.up", "leave.mlp.gate"),
            r"ff_context\.net\.2": ("leave.mlp.down",),
        },
    ),
)


def from_genmo(weights: Mapping[str, Tensor], shape: JointShape) -> dict[str, Tensor]:
    """Mochi's weights in Genmo's names -> the parameters of video and text of a JointDiT of `shape`.

    Raises CheckpointError, which names them, if keys are missing, left over, or of another shape.
    """
    return _converted(weights, shape, _GENMO)


def from_diffusers(weights: Mapping[str, Tensor], shape: JointShape) -> dict[str, Tensor]:
    """As `from_genmo`, from the names of diffusers' MochiTransformer3DModel."""
    return _converted(weights, shape, _DIFFUSERS)


def from_mochi(weights: Mapping[str, Tensor], shape: JointShape) -> dict[str, Tensor]:
    """As `from_genmo`, from whichever names these are."""
    return (from_diffusers if any(key.startswith("transformer_blocks.") for key in weights) else from_genmo)(
        weights, shape
    )


def _converted(weights: Mapping[str, Tensor], shape: JointShape, rules: tuple[Rule, ...]) -> dict[str, Tensor]:
    with torch.device("meta"):
        model = JointDiT(replace(shape, text_positions="none"), components=frozenset({"video", "text"}))
    needed = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    found: dict[str, Tensor] = {}
    foreign, other = [], []
    for key, value in weights.items():
        parts = _parts(key, value, rules)
        foreign += [key] if parts is None or any(name not in needed for name in parts) else []
        for name, part in (parts or {}).items():
            found[name] = part
            if name in needed and tuple(part.shape) != needed[name]:
                other.append(f"{named(name)} {tuple(part.shape)} for {needed[name]}")
    missing = [name for name in needed if name not in found]
    problems = [
        *([f"no weights for {listed(missing)}"] if missing else []),
        *([f"no parameters for {listed(foreign)}"] if foreign else []),
        *([f"other shapes: {listed(other)}"] if other else []),
    ]
    if problems:
        raise CheckpointError(f"Mochi's weights do not fit this network: {'; '.join(problems)}; check the preset")
    return found


def _parts(key: str, value: Tensor, rules: tuple[Rule, ...]) -> dict[str, Tensor] | None:
    """Ours from one of theirs; None for a key that no rule knows, or that does not divide into parts."""
    for pattern, ours in rules:
        if not (match := re.match(pattern, key)):
            continue
        names = [match.expand(name) + key[match.end() :] for name in ours]
        if value.shape[0] % len(names):
            return None
        return {name: _ours(name, part) for name, part in zip(names, value.chunk(len(names)), strict=True)}
    return None


def _ours(name: str, value: Tensor) -> Tensor:
    if name == "video.embedding.weight":
        return value.unsqueeze(2)
    return -value if name.startswith("video.final.head.") else value
