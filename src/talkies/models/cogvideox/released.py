"""config.json of diffusers' CogVideoXTransformer3DModel and CogVideoXConfig, both ways."""

from typing import Any

from talkies.config.quoting import shown
from talkies.models.cogvideox.config import CogVideoXConfig
from talkies.models.released import LARGEST, MOST_LAYERS, check_fixed, number, whole
from talkies.streams.layout import Json

CLASS = "CogVideoXTransformer3DModel"
_SIZES = {
    "num_attention_heads": "heads",
    "attention_head_dim": "head_dim",
    "num_layers": "layers",
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "text_embed_dim": "text_dim",
    "max_text_seq_length": "text_length",
    "time_embed_dim": "time_dim",
    "sample_frames": "sample_frames",
    "temporal_compression_ratio": "temporal_compression",
}
_NUMBERS = {
    "spatial_interpolation_scale": "spatial_scale",
    "temporal_interpolation_scale": "temporal_scale",
    "norm_eps": "eps",
}
_FIXED: dict[str, Any] = {
    "patch_size_t": None,  # of CogVideoX1.5, as the next two are
    "ofs_embed_dim": None,
    "patch_bias": True,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "dropout": 0.0,
    "attention_bias": True,
    "activation_fn": "gelu-approximate",
    "timestep_activation_fn": "silu",
    "norm_elementwise_affine": True,
}
"""What the network here is, by the keys that say so."""
_ROTARY, _LEARNED = "use_rotary_positional_embeddings", "use_learned_positional_embeddings"
_POSITIONS = {"sincos": (False, False), "rope": (True, False), "learned": (True, True)}
"""Positions -> the values of the two keys."""
_AXES = 16
"""Divides the dimensions that are shared out among three axes: a quarter, and twice three eighths, in pairs."""


def sizes(values: Json) -> CogVideoXConfig:
    """The sizes in a config.json. ValueError names a key that is missing or not of this network."""
    check_fixed(values, _FIXED)
    found: dict[str, Any] = {
        **{
            ours: whole(theirs, values, MOST_LAYERS if ours == "layers" else LARGEST) for theirs, ours in _SIZES.items()
        },
        **{ours: number(theirs, values) for theirs, ours in _NUMBERS.items()},
    }
    patch = whole("patch_size", values)
    side = (whole("sample_height", values), whole("sample_width", values))
    made = CogVideoXConfig(patch=(1, patch, patch), sample_size=side, positions=_positions(values), **found)
    _check_axes(made)
    made.sample_tokens  # noqa: B018 - it raises for a patch that does not divide the sample
    return made


def _positions(values: Json) -> Any:
    given = tuple(values.get(key, False) for key in (_ROTARY, _LEARNED))
    for name, flags in _POSITIONS.items():
        if given == flags:
            return name
    raise ValueError(
        f"`{_ROTARY}` is {shown(given[0])} and `{_LEARNED}` {shown(given[1])}: learned positions need rotary ones"
    )


def _check_axes(made: CogVideoXConfig) -> None:
    """ValueError if the positions of three axes do not fill a token, or a head."""
    if made.positions != "sincos" and made.head_dim % _AXES:
        raise ValueError(f"`attention_head_dim` is {made.head_dim}, and rotary positions need a multiple of {_AXES}")
    if made.positions != "rope" and made.dim % _AXES:
        raise ValueError(f"the width is {made.dim}, and sinusoids of three axes need a multiple of {_AXES}")


def config(made: CogVideoXConfig) -> dict[str, Any]:
    """The content of config.json. ValueError for a patch that it cannot say."""
    if made.patch != (1, made.patch[1], made.patch[1]):
        raise ValueError(f"its patch is {list(made.patch)}, and a released one is square and of one latent step")
    rotary, learned = _POSITIONS[made.positions]
    return {
        "_class_name": CLASS,
        **{theirs: getattr(made, ours) for theirs, ours in {**_SIZES, **_NUMBERS}.items()},
        "patch_size": made.patch[1],
        "sample_height": made.sample_size[0],
        "sample_width": made.sample_size[1],
        _ROTARY: rotary,
        _LEARNED: learned,
        **_FIXED,
    }
