"""The names of diffusers' WanTransformer3DModel and those of our towers, Wan's own, both ways (docs/mova.md: Checkpoint
keys). Without torch, because a system's description imports it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from talkies.config import CheckpointError
from talkies.config.quoting import shown
from talkies.models.names import Names

if TYPE_CHECKING:
    from torch import Tensor

_OUTSIDE = {
    "patch_embedding": "patch_embedding",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "proj_out": "head.head",
    "scale_shift_table": "head.modulation",
}
_BLOCK = {
    **{f"attn1.to_{part}": f"self_attn.{part}" for part in "qkv"},
    "attn1.to_out.0": "self_attn.o",
    "attn1.norm_q": "self_attn.norm_q",
    "attn1.norm_k": "self_attn.norm_k",
    **{f"attn2.to_{part}": f"cross_attn.{part}" for part in "qkv"},
    "attn2.to_out.0": "cross_attn.o",
    "attn2.norm_q": "cross_attn.norm_q",
    "attn2.norm_k": "cross_attn.norm_k",
    "norm2": "norm3",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "scale_shift_table": "modulation",
}
_NAMES = Names(outside=_OUTSIDE, block=_BLOCK)


def from_diffusers(key: str) -> str | None:
    """Our name of a tensor of diffusers'; None if a tower has none."""
    return _NAMES.ours(key)


def to_diffusers(key: str) -> str:
    """diffusers' name of a parameter of a tower."""
    return _NAMES.theirs(key)


def tower_from_diffusers(state_dict: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """The same tensors under the keys of our towers.

    Raises CheckpointError for a key that a tower does not have, such as one of Wan2.1's CLIP image branch.
    """
    return {_renamed(key): value for key, value in state_dict.items()}


def _renamed(key: str) -> str:
    ours = from_diffusers(key)
    if ours is None:
        raise CheckpointError(
            f"diffusers weights: a tower has no parameter for key {shown(key)}; use a WanTransformer3DModel without "
            "image branch, such as Wan2.2-I2V-A14B or Wan2.1-T2V"
        )
    return ours
