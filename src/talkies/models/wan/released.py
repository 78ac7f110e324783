"""config.json of a released Wan tower in its two forms, Wan's own and diffusers', and TowerConfig, both ways."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from talkies.config.quoting import shown
from talkies.models.released import LARGEST, MOST_LAYERS, check_fixed
from talkies.models.wan.config import TowerConfig
from talkies.streams.layout import Json


@dataclass(frozen=True, kw_only=True)
class TowerForm:
    """`keys`: key of config.json -> that of TowerConfig; `fixed`: the values that others must have if they are there,
    because our towers are that way (they are written); `absent`: those of `keys` that may be missing, and what that
    means."""

    keys: Mapping[str, str]
    fixed: Mapping[str, Any]
    absent: Mapping[str, Any] = field(default_factory=dict)

    def sizes(self, values: Json) -> TowerConfig:
        """The sizes in a config.json. ValueError names a key that is missing or not of our towers."""
        check_fixed(values, self.fixed)
        known = {**self.absent, **values}
        found = {ours: _size(theirs, known) for theirs, ours in self.keys.items()}
        if head_dim := found.pop("head_dim", None):
            found["dim"] = found["heads"] * head_dim
        if found["dim"] % found["heads"]:
            raise ValueError(f"`dim` is {found['dim']}, which {found['heads']} heads do not divide")
        return TowerConfig(**found)

    def config(self, tower: TowerConfig) -> dict[str, Any]:
        """The content of config.json, without its `_class_name`."""
        values = {theirs: getattr(tower, ours) for theirs, ours in self.keys.items()}
        listed = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        left_out = {key for key, value in self.absent.items() if listed[key] == value}
        return {**{key: value for key, value in listed.items() if key not in left_out}, **self.fixed}


def _size(key: str, values: Json) -> Any:
    """A whole number above 0, `eps`, or the list of whole numbers that a patch is. ValueError names the key."""
    if key not in values:
        raise ValueError(f"`{key}` is missing")
    value = values[key]
    numbers = value if key == "patch_size" and isinstance(value, list) and 0 < len(value) <= 3 else [value]
    most = MOST_LAYERS if key == "num_layers" else LARGEST
    whole = all(type(number) is int and 0 < number <= most for number in numbers)
    if not (whole or (key == "eps" and type(value) is float and 0 < value < 1)):
        raise ValueError(f"`{key}` is {shown(value)}, which is no size")
    return tuple(numbers) if key == "patch_size" else value


_WAN = {
    "dim": "dim", "ffn_dim": "ffn_dim", "num_heads": "heads", "num_layers": "layers", "in_dim": "in_channels",
    "out_dim": "out_channels", "freq_dim": "freq_dim", "eps": "eps",
}  # fmt: skip
_NO_BRANCHES = {"has_image_input": False}
WAN = TowerForm(
    keys={**_WAN, "patch_size": "patch", "text_dim": "text_dim"},
    fixed={"model_type": "i2v", "text_len": 512},
    absent={"patch_size": [1, 2, 2], "text_dim": 4096},
)
"""Wan2.2's own; Wan writes neither its patch nor the width of its text."""
MOVA_VIDEO = TowerForm(
    keys={**_WAN, "patch_size": "patch", "text_dim": "text_dim"},
    fixed={
        **_NO_BRANCHES,
        "has_image_pos_emb": False,
        "has_ref_conv": False,
        "seperated_timestep": False,
        "require_vae_embedding": True,
        "require_clip_embedding": False,
        "fuse_vae_embedding_in_latents": False,
    },
)
MOVA_AUDIO = TowerForm(
    keys={**_WAN, "patch_size": "patch", "text_dim": "text_dim"}, fixed={**_NO_BRANCHES, "vae_type": "dac"}
)
DIFFUSERS = TowerForm(
    keys={
        "patch_size": "patch", "num_attention_heads": "heads", "attention_head_dim": "head_dim",
        "in_channels": "in_channels", "out_channels": "out_channels", "text_dim": "text_dim", "freq_dim": "freq_dim",
        "ffn_dim": "ffn_dim", "num_layers": "layers", "eps": "eps",
    },
    fixed={
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "image_dim": None,
        "added_kv_proj_dim": None,
        "rope_max_seq_len": 1024,
        "pos_embed_seq_len": None,
    },
)  # fmt: skip
