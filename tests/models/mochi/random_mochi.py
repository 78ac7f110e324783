"""diffusers' Mochi of the toy's size with random weights, in the names of both sources."""

import torch
from diffusers import MochiTransformer3DModel
from joint_toy import TOY
from torch import Tensor

from talkies.models.mochi.config import JointShape


def mochi(shape: JointShape = TOY) -> MochiTransformer3DModel:
    """Its positional table, too, which diffusers begins at zero, is random."""
    model = MochiTransformer3DModel(
        num_attention_heads=shape.heads,
        attention_head_dim=shape.head_dim,
        num_layers=shape.layers,
        pooled_projection_dim=shape.modalities["text"].width,
        in_channels=shape.modalities["video"].channels,
        text_embed_dim=shape.modalities["text"].channels,
        time_embed_dim=shape.freq_dim,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5)
    return model.eval()


def in_genmos_names(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of diffusers' scripts/convert_mochi_to_diffusers.py."""
    left, found = dict(theirs), {}

    def moved(ours: str, *names: str, swapped: bool = False) -> None:
        for end in ("weight", "bias"):
            if f"{names[0]}.{end}" in left:
                value = torch.cat([left.pop(f"{name}.{end}") for name in names])
                found[f"{ours}.{end}"] = torch.cat([*reversed(value.chunk(2))]) if swapped else value

    found["pos_frequencies"] = left.pop("pos_frequencies")
    moved("x_embedder.proj", "patch_embed.proj")
    for ours, name in (("0", "linear_1"), ("2", "linear_2")):
        moved(f"t_embedder.mlp.{ours}", f"time_embed.timestep_embedder.{name}")
    for name in ("to_kv", "to_q", "to_out"):
        moved(f"t5_y_embedder.{name}", f"time_embed.pooler.{name}")
    moved("t5_yproj", "time_embed.caption_proj")
    moved("final_layer.mod", "norm_out.linear", swapped=True)
    moved("final_layer.linear", "proj_out")
    for index in range(TOY.layers):
        block, ours = f"transformer_blocks.{index}", f"blocks.{index}"
        last = index == TOY.layers - 1
        moved(f"{ours}.mod_x", f"{block}.norm1.linear")
        moved(f"{ours}.mod_y", f"{block}.norm1_context.linear" + "_1" * last)
        moved(f"{ours}.attn.qkv_x", *(f"{block}.attn1.to_{x}" for x in "qkv"))
        moved(f"{ours}.attn.qkv_y", *(f"{block}.attn1.add_{x}_proj" for x in "qkv"))
        for x in "qk":
            moved(f"{ours}.attn.{x}_norm_x", f"{block}.attn1.norm_{x}")
            moved(f"{ours}.attn.{x}_norm_y", f"{block}.attn1.norm_added_{x}")
        moved(f"{ours}.attn.proj_x", f"{block}.attn1.to_out.0")
        moved(f"{ours}.attn.proj_y", f"{block}.attn1.to_add_out")
        for letter, ff in (("x", "ff"), ("y", "ff_context")):
            moved(f"{ours}.mlp_{letter}.w1", f"{block}.{ff}.net.0.proj", swapped=True)
            moved(f"{ours}.mlp_{letter}.w2", f"{block}.{ff}.net.2")
    assert not left, sorted(left)
    return found
