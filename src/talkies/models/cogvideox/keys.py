"""The names of diffusers' CogVideoXTransformer3DModel and ours, both ways. The tensors are the same. Without torch,
because the description of a system imports it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from talkies.config import CheckpointError
from talkies.config.quoting import shown
from talkies.models.names import Names

if TYPE_CHECKING:
    from torch import Tensor

NAMES = {
    "video": Names(
        outside={
            "patch_embed.proj": "patch_embedding",
            "patch_embed.text_proj": "text_embedding",
            "patch_embed.pos_embedding": "positions.table",
            "time_embedding.linear_1": "time_embedding.0",
            "time_embedding.linear_2": "time_embedding.2",
            "norm_final": "final.norm1",
            "norm_out.norm": "final.norm2",
            "norm_out.linear": "final.modulation",
            "proj_out": "final.head",
        },
        block={
            "norm1.linear": "norm.modulation",
            "norm1.norm": "norm.norm",
            "norm2.linear": "feed.norm.modulation",
            "norm2.norm": "feed.norm.norm",
            "ff.net.0.proj": "feed.ffn.0",
            "ff.net.2": "feed.ffn.2",
        },
        blocks="transformer_blocks",
    ),
    "attention": Names(
        outside={},
        block={
            **{f"attn1.to_{part}": f"projection.{part}" for part in "qkv"},
            "attn1.to_out.0": "projection.o",
            "attn1.norm_q": "projection.norm_q",
            "attn1.norm_k": "projection.norm_k",
        },
        blocks="transformer_blocks",
        own="",
    ),
}
"""By component."""


def from_diffusers(weights: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """The state dict of diffusers' network under our names.

    Raises CheckpointError for a key that ours does not have, such as one of CogVideoX1.5.
    """
    return {_renamed(key): value for key, value in weights.items()}


def to_diffusers(weights: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """The inverse."""
    return {_theirs(*key.split(".", 1)): value for key, value in weights.items()}


def _theirs(component: str, key: str) -> str:
    return NAMES[component].theirs(key)


def _renamed(key: str) -> str:
    for component, names in NAMES.items():
        if (ours := names.ours(key)) is not None:
            return f"{component}.{ours}"
    raise CheckpointError(
        f"diffusers weights: CogVideoX has no parameter for key {shown(key)}; use a CogVideoXTransformer3DModel of "
        "the first version: CogVideoX-2b, CogVideoX-5b or CogVideoX-5b-I2V"
    )
