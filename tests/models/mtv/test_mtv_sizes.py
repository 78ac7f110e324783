"""The presets have the sizes of the released MTV (built on the meta device)."""

from typing import Any

import pytest
import torch

from talkies.models.build import count_parameters
from talkies.models.cogvideox.config import PRESETS as COGVIDEOX
from talkies.models.mtv.config import PRESETS, MtvConfig
from talkies.models.mtv.network import Mtv

ENCODER, INTERACTION = 1_244_449_280, 11_817_216
INJECTIONS = {"mtv-5b": 2_181_817_344, "mtv-5b-i2v": 2_181_817_344, "mtv-2b": 708_610_560}
"""Of all layers."""
BACKBONE = {"mtv-5b": 5_570_283_072, "mtv-5b-i2v": 5_570_479_680 + 17_776 * 3072, "mtv-2b": 1_693_783_872}


def built(preset: str, **keys: Any) -> Mtv:
    config = MtvConfig(preset=preset, **keys)  # type: ignore[arg-type]
    with torch.device("meta"):
        return Mtv(config.shape, components=("video", "control"))


def sizes(model: Mtv) -> dict[str, int]:
    """Of the parts of the control, and all of it."""
    assert model.control is not None
    parts = {name: count_parameters(part) for name, part in model.control.named_children()}
    return parts | {"control": count_parameters(model.control)}


@pytest.mark.parametrize("preset", INJECTIONS)
def test_the_control_has_the_released_counts(preset: str) -> None:
    """Three encoders, four interactions, an injection for every layer."""
    model = built(preset)
    interactions, injections = 4 * INTERACTION, INJECTIONS[preset]
    assert sizes(model) == {
        "encoders": 3 * ENCODER,
        "interactions": interactions,
        "injections": injections,
        "control": 3 * ENCODER + interactions + injections,
    }
    assert count_parameters(model) - sizes(model)["control"] == BACKBONE[preset]
    assert len(model.control.injections if model.control else ()) == PRESETS[preset].layers


def test_the_released_size_is_about_seven_and_a_half_billion_trained() -> None:
    """The control, and what of the backbone the paper trains besides: the attention."""
    model = built("mtv-5b")
    assert sizes(model)["control"] == 5_962_434_048
    attention = count_parameters(model.get_submodule("attention"))
    assert 7.5e9 < 5_962_434_048 + attention < 7.6e9


def test_keys_change_what_they_say() -> None:
    plain = sizes(built("mtv-5b"))
    width, wide = 768, 32 * 768
    assert sizes(built("mtv-5b", speakers=2))["speakers"] == 2 * width
    alone = sizes(built("mtv-5b", convolution="per_token"))["encoders"]
    assert plain["encoders"] - alone == 3 * (2 * wide * wide + wide - 2 * width * width - width)
    narrow = sizes(built("mtv-5b", features=80, reach=0))["encoders"]
    assert plain["encoders"] - narrow == 3 * 512 * (5 * 9216 - 80)
    shared = sizes(built("mtv-5b", injection="shared"))["injections"]
    heard = sizes(built("mtv-5b", music="interval"))["injections"]
    style, layers = 2 * 3072 * (width + 1), 42
    attention = (plain["injections"] - shared) // layers
    assert attention == (plain["injections"] // layers - style) // 2
    assert heard - plain["injections"] == layers * (attention - style)
    for keys in ({"initial": "scaled"}, {"intervals": 4}):
        assert sizes(built("mtv-5b", **keys)) == plain


def test_wan_is_steered_in_every_layer() -> None:
    model = built("mtv-wan")
    assert model.control is not None
    assert len(model.control.injections) == 40
    assert model.control.injections[0].speech.attention.q.weight.shape == (5120, 5120)


def test_the_released_backbones_are_those_of_cogvideox() -> None:
    names = {"mtv-5b": "5b", "mtv-5b-i2v": "5b-i2v", "mtv-2b": "2b"}
    assert {preset: PRESETS[preset].backbone for preset in names} == {p: COGVIDEOX[n] for p, n in names.items()}


def test_keys_of_a_recipe_replace_those_of_the_preset() -> None:
    """A reach of 0 is one, too."""
    plain = MtvConfig(preset="toy").shape.control
    assert plain == PRESETS["toy"].control
    keys: dict[str, Any] = {"features": 7, "reach": 0, "speakers": 2, "convolution": "per_token", "initial": "scaled"}
    keys |= {"injection": "shared", "music": "interval", "intervals": 3}
    control = MtvConfig(preset="toy", **keys).shape.control
    assert {name: getattr(control, name) for name in keys} == keys
    assert (control.hidden, control.tokens) == (plain.hidden, plain.tokens)
    assert MtvConfig(preset="toy", **keys).shape.backbone == PRESETS["toy"].backbone
