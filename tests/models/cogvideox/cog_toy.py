"""A small CogVideoX of every kind, random streams for it, and diffusers' network of the same sizes."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import Tensor

from talkies.models.cogvideox.config import CogVideoXConfig
from talkies.models.cogvideox.tower import CogVideoX
from talkies.streams import Grid
from talkies.streams.batch import Stream

ROPE = CogVideoXConfig(
    layers=3,
    heads=6,
    head_dim=16,
    in_channels=5,
    out_channels=5,
    text_dim=20,
    text_length=7,
    time_dim=24,
    sample_size=(8, 12),
    sample_frames=9,
)
"""Of samples of 3 x 4 x 6 tokens."""
KINDS = {
    "rope": ROPE,
    "sincos": replace(ROPE, positions="sincos"),
    "learned": replace(ROPE, positions="learned", in_channels=8),
}
SHAPE = (3, 8, 12)


def drawn(model: torch.nn.Module, *, kept: Sequence[str] = ()) -> None:
    """Draw every parameter and buffer: what begins at 0 or 1 would hide faults. But none with a name of which one of
    `kept` is a part."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if any(part in name for part in kept):
                continue
            noise = torch.randn(value.shape, generator=generator)
            one = "norm" in name and name.endswith("weight") and value.ndim == 1
            value.copy_(
                1 + noise / 5 if one else noise / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else noise / 5
            )


def toy(kind: str = "rope", **keys: Any) -> CogVideoX:
    model = CogVideoX(replace(KINDS[kind], **keys))
    drawn(model)
    return model


def clip(batch: int = 2, *, shape: tuple[int, ...] = SHAPE, condition: int = 0) -> Stream:
    """Of different noise levels; with so many channels of a condition."""
    grid = Grid(channels=ROPE.out_channels, shape=shape, rate=Fraction(6))
    given = torch.randn(batch, condition, *shape) if condition else None
    return Stream(latent=torch.randn(batch, *grid.latent_shape), time=torch.rand(batch), grid=grid, condition=given)


def words(batch: int = 2, length: int = ROPE.text_length) -> Tensor:
    return torch.randn(batch, length, ROPE.text_dim)


def sizes(config: CogVideoXConfig) -> dict[str, Any]:
    """The arguments of diffusers' network."""
    return {
        "num_attention_heads": config.heads,
        "attention_head_dim": config.head_dim,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "time_embed_dim": config.time_dim,
        "text_embed_dim": config.text_dim,
        "num_layers": config.layers,
        "sample_height": config.sample_size[0],
        "sample_width": config.sample_size[1],
        "sample_frames": config.sample_frames,
        "max_text_seq_length": config.text_length,
        "use_rotary_positional_embeddings": config.positions != "sincos",
        "use_learned_positional_embeddings": config.positions == "learned",
    }


def theirs(kind: str) -> CogVideoXTransformer3DModel:
    model = CogVideoXTransformer3DModel(**sizes(KINDS[kind]))
    drawn(model)
    return model.eval().requires_grad_(False)


def their_rope(config: CogVideoXConfig, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """What the released pipeline gives the network for a latent of `shape`."""
    rows, columns = (size // 2 for size in shape[1:])
    height, width = (size // 2 for size in config.sample_size)
    crop = get_resize_crop_region_for_grid((rows, columns), width, height)
    cos, sin = get_3d_rotary_pos_embed(config.head_dim, crop, (rows, columns), shape[0])
    return cos, sin
