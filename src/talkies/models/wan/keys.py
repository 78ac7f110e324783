"""Maps diffusers' WanTransformer3DModel keys to those of our towers, Wan's own (docs/mova.md: Checkpoint keys)."""

import re
from collections.abc import Mapping

from torch import Tensor

from talkies.config import CheckpointError
from talkies.config.quoting import shown

_RENAMED = (
    (r"condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
    (r"condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
    (r"condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
    (r"condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
    (r"condition_embedder\.time_proj\.", "time_projection.1."),
    (r"(blocks\.\d+)\.attn1\.to_([qkv])\.", r"\1.self_attn.\2."),
    (r"(blocks\.\d+)\.attn2\.to_([qkv])\.", r"\1.cross_attn.\2."),
    (r"(blocks\.\d+)\.attn1\.to_out\.0\.", r"\1.self_attn.o."),
    (r"(blocks\.\d+)\.attn2\.to_out\.0\.", r"\1.cross_attn.o."),
    (r"(blocks\.\d+)\.attn1\.(norm_[qk])\.", r"\1.self_attn.\2."),
    (r"(blocks\.\d+)\.attn2\.(norm_[qk])\.", r"\1.cross_attn.\2."),
    (r"(blocks\.\d+)\.norm2\.", r"\1.norm3."),
    (r"(blocks\.\d+)\.ffn\.net\.0\.proj\.", r"\1.ffn.0."),
    (r"(blocks\.\d+)\.ffn\.net\.2\.", r"\1.ffn.2."),
    (r"(blocks\.\d+)\.scale_shift_table$", r"\1.modulation"),
    (r"scale_shift_table$", "head.modulation"),
    (r"proj_out\.", "head.head."),
    (r"patch_embedding\.", "patch_embedding."),
)


def tower_from_diffusers(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the keys of our towers.

    Raises CheckpointError for a key that a tower does not have, such as one of Wan2.1's CLIP image branch.
    """
    return {_renamed(key): value for key, value in state_dict.items()}


def _renamed(key: str) -> str:
    for pattern, ours in _RENAMED:
        renamed, found = re.subn(f"^{pattern}", ours, key)
        if found:
            return renamed
    raise CheckpointError(
        f"diffusers weights: a tower has no parameter for key {shown(key)}; use a WanTransformer3DModel without image "
        "branch, such as Wan2.2-I2V-A14B or Wan2.1-T2V"
    )
