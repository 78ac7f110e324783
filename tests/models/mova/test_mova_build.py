"""Sizes, names and initial weights."""

import re

import pytest
import torch
from torch import Tensor, nn
from toy_streams import TOY, setup, toy

from talkies.config.canonical import to_dict
from talkies.models.build import build, component_of, count_parameters, initialise
from talkies.models.mova.config import COMPONENTS, PRESETS, MovaShape
from talkies.models.mova.network import Mova
from talkies.models.mova.system import MOVA
from talkies.models.wan.config import TowerConfig

LINEAR, RMS = ("weight", "bias"), ("weight",)
ATTENTION = {**dict.fromkeys("qkvo", LINEAR), "norm_q": RMS, "norm_k": RMS}


def leaves(prefix: str, modules: dict[str, tuple[str, ...]]) -> set[str]:
    return {f"{prefix}{name}.{leaf}" for name, kinds in modules.items() for leaf in kinds}


def tower_keys(layers: int) -> set[str]:
    """Parameter names of a tower in the released checkpoints (docs/mova.md: Checkpoint keys)."""
    stem = ("patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2")
    keys = leaves("", dict.fromkeys((*stem, "time_projection.1", "head.head"), LINEAR)) | {"head.modulation"}
    for i in range(layers):
        keys |= leaves(f"blocks.{i}.self_attn.", ATTENTION) | leaves(f"blocks.{i}.cross_attn.", ATTENTION)
        keys |= leaves(f"blocks.{i}.", dict.fromkeys(("norm3", "ffn.0", "ffn.2"), LINEAR)) | {f"blocks.{i}.modulation"}
    return keys


def bridge_keys(layers: int) -> set[str]:
    keys = set()
    for direction in ("audio_to_video", "video_to_audio"):
        for i in range(layers):
            prefix = f"{direction}_conditioners.{i}."
            keys |= leaves(prefix, {"y_norm": LINEAR}) | leaves(f"{prefix}inner.", ATTENTION)
    return keys


@pytest.fixture(scope="module")
def released() -> Mova:
    return build(MOVA, setup("a14b"), COMPONENTS, seed=None)


def test_released_sizes(released: Mova) -> None:
    counts = {name: count_parameters(part) for name, part in released.named_children()}
    assert counts == {
        "video_high": 14_288_901_184,
        "video_low": 14_288_901_184,
        "audio": 1_419_193_472,
        "bridge": 2_659_737_600,
    }
    assert count_parameters(released) == 32_656_733_440
    assert count_parameters(released.video_high.blocks[0]) == 351_394_304
    assert count_parameters(released.audio.blocks[0]) == 46_440_704
    assert count_parameters(released.bridge.audio_to_video_conditioners[0]) == 68_191_232
    assert count_parameters(released.bridge.video_to_audio_conditioners[0]) == 20_466_688


def test_released_state_dict_keys(released: Mova) -> None:
    for name, expected, number in (
        ("video_high", tower_keys(40), 1095),
        ("video_low", tower_keys(40), 1095),
        ("audio", tower_keys(30), 825),
        ("bridge", bridge_keys(30), 720),
    ):
        keys = getattr(released, name).state_dict().keys()
        assert set(keys) == expected
        assert len(keys) == number


def test_released_tensor_shapes(released: Mova) -> None:
    shapes = {name: tuple(value.shape) for name, value in released.state_dict().items()}
    assert shapes["video_low.patch_embedding.weight"] == (5120, 36, 1, 2, 2)
    assert shapes["audio.patch_embedding.weight"] == (1536, 128, 1)
    assert shapes["audio.time_projection.1.weight"] == (6 * 1536, 1536)
    assert shapes["video_high.blocks.39.modulation"] == (1, 6, 5120)
    assert shapes["video_high.head.modulation"] == (1, 2, 5120)
    assert shapes["video_high.head.head.weight"] == (64, 5120)
    assert shapes["audio.head.head.weight"] == (128, 1536)
    assert shapes["bridge.audio_to_video_conditioners.29.inner.k.weight"] == (5120, 1536)
    assert shapes["bridge.video_to_audio_conditioners.0.inner.v.weight"] == (1536, 5120)
    assert shapes["bridge.video_to_audio_conditioners.0.y_norm.weight"] == (5120,)


def parameter_counts(shape: MovaShape) -> dict[str, int]:
    """component -> number of parameters."""
    video, audio = tower_parameters(shape.video), tower_parameters(shape.audio)
    return {"video_high": video, "video_low": video, "audio": audio, "bridge": bridge_parameters(shape)}


def tower_parameters(config: TowerConfig) -> int:
    """Stem and head, and `layers` blocks of 8d^2 + 2df + f + 21d."""
    d, f, patch = config.dim, config.ffn_dim, config.patch_volume
    block = 8 * d * d + 2 * d * f + f + 21 * d
    inputs = config.in_channels * patch + config.text_dim + config.freq_dim
    outputs = config.out_channels * patch
    return config.layers * block + 8 * d * d + d * (inputs + outputs + 13) + outputs


def bridge_parameters(shape: MovaShape) -> int:
    """`layers` pairs of conditioners: 2q^2 + 2qm + 6q + 2m with query width q and memory width m."""
    v, a = shape.video.dim, shape.audio.dim
    return shape.bridge.layers * sum(2 * q * q + 2 * q * m + 6 * q + 2 * m for q, m in ((v, a), (a, v)))


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_counts_from_the_shape_are_the_built_ones(preset: str) -> None:
    shape = PRESETS[preset]
    built = build(MOVA, setup(preset), COMPONENTS, seed=None)
    assert parameter_counts(shape) == {name: count_parameters(part) for name, part in built.named_children()}


def test_count_formulas_give_the_released_layer_sizes() -> None:
    shape = PRESETS["a14b"]
    assert tower_parameters(shape.video) == 14_288_901_184
    assert tower_parameters(shape.audio) == 1_419_193_472
    assert bridge_parameters(shape) == 30 * 88_657_920


def test_no_parameter_is_left_undrawn() -> None:
    model = toy()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    initialise(model, 3)
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), toy(seed=3).parameters(), strict=True))


def test_weights_depend_on_seed_and_component_only() -> None:
    def drawn(*components: str, seed: int) -> dict[str, Tensor]:
        return build(MOVA, setup(), components, seed=seed).state_dict()

    before = torch.random.get_rng_state()
    everything, alone = drawn(*COMPONENTS, seed=1), drawn("audio", "bridge", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(everything[name], value) for name, value in alone.items())
    name = "blocks.0.ffn.0.weight"
    assert not torch.equal(everything[f"video_high.{name}"], everything[f"video_low.{name}"])
    assert not torch.equal(everything[f"audio.{name}"], drawn("audio", seed=2)[f"audio.{name}"])


def test_linears_have_torch_default_initialisation_and_the_head_is_not_zero() -> None:
    model = toy()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            assert 0.8 * bound < module.weight.abs().max() <= bound, name
    assert model.video_high.head.head.weight.any()
    assert model.bridge.audio_to_video_conditioners[0].inner.o.weight.any()


def test_every_parameter_belongs_to_a_component_of_the_system() -> None:
    model = toy()
    for component, part in model.named_children():
        assert {component_of(f"{component}.{name}") for name, _ in part.named_parameters()} == {component}
    assert dict(model.named_children()).keys() == MOVA.components(setup()).keys()


def test_components_not_built_are_absent() -> None:
    model = toy("video_low", "audio")
    assert model.video_high is None
    assert model.bridge is None
    assert all(re.match(r"(video_low|audio)\.", name) for name in model.state_dict())


def test_components_of_one_section_have_the_sizes_that_it_records() -> None:
    """By which a parent is compared: components of one section have equal parameters."""
    built, components = dict(build(MOVA, setup(), COMPONENTS, seed=None).named_children()), MOVA.components(setup())
    for name, one in components.items():
        for other, twin in components.items():
            shapes = [{key: tuple(value.shape) for key, value in built[n].state_dict().items()} for n in (name, other)]
            assert (one.section == twin.section) == (shapes[0] == shapes[1])
        assert one.shape == to_dict(getattr(PRESETS["toy"], one.section))
        assert one.width == max(value.shape[0] for n, value in built[name].named_parameters() if ".q." in n)


@pytest.mark.parametrize("components", [frozenset(), frozenset({"video"})])
def test_unknown_components_are_refused(components: frozenset[str]) -> None:
    with pytest.raises(ValueError, match="MOVA has the components video_high"):
        Mova(TOY, components=components)


def test_a_bridge_deeper_than_a_tower_is_refused() -> None:
    deep = MovaShape(video=TOY.video, audio=TOY.audio, bridge=type(TOY.bridge)(layers=99, rate=25.0))
    with pytest.raises(ValueError, match=r"bridge\.layers is 99"):
        Mova(deep, components=frozenset({"bridge"}))
