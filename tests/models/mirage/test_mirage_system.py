"""What Mirage tells the house: phases, what each trains, conditions, guidance, streams and parameter groups."""

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from talkies.codecs.config import ByteTextConfig, LinearVideoConfig, LogMelConfig, WaveformConfig
from talkies.config import RecipeError
from talkies.flow.config import AnnealedScale
from talkies.models.build import build
from talkies.models.mirage.config import PRESETS, MirageConfig
from talkies.models.mirage.phases import ReferenceConfig, StitchConfig, VideoPretrainingConfig, WarmUpConfig
from talkies.models.mirage.system import MIRAGE
from talkies.streams import Grid
from talkies.streams.system import Turn
from talkies.training.config import OptimizerConfig
from talkies.training.optimizer import parameter_groups

CODECS = {
    "video": LinearVideoConfig(),
    "sound": LogMelConfig(channels=32),
    "audio": WaveformConfig(hop=640),
    "text": ByteTextConfig(),
}
PHASES: dict[str, Any] = {
    "video_pretraining": VideoPretrainingConfig(),
    "warm_up": WarmUpConfig(),
    "stitch": StitchConfig(),
    "reference": ReferenceConfig(),
}
HEARING = ("warm_up", "stitch", "reference")


def setup(phase: str = "reference", *, without: str | None = None, **codecs: Any) -> Any:
    """What Mirage sees of a recipe, `without` one of the codecs, or with others."""
    found = {name: codec for name, codec in (CODECS | codecs).items() if name != without}
    return SimpleNamespace(model=MirageConfig(preset="toy"), phase=PHASES[phase], codecs=found)


def test_a_phase_builds_and_trains_its_parts() -> None:
    silent, warm_up, stitch, reference = (MIRAGE.parts(setup(phase)) for phase in PHASES)
    assert silent.components == {"video", "text"}
    for parts in (warm_up, stitch, reference):
        assert parts.components == {"video", "text", "sound"}
    for parts in (silent, stitch, reference):
        assert parts.frozen == frozenset()
    assert warm_up.frozen == {"video", "text"}
    assert [parts.streams for parts in (silent, warm_up, stitch, reference)] == [
        ("video",),
        ("video", "sound"),
        ("video", "sound"),
        ("video", "reference", "sound"),
    ]
    for parts in (silent, warm_up, stitch, reference):
        assert (parts.targets, parts.texts, parts.cycle) == ({"video": 1.0}, {"text"}, (Turn(),))
        assert parts.blocks == PRESETS["toy"].layers


def test_the_sound_itself_is_kept_beside_and_not_read() -> None:
    """It needs a codec of its own, and a silent phase has none to hear."""
    for phase in PHASES:
        parts = MIRAGE.parts(setup(phase))
        heard = {"audio"} if phase in HEARING else set()
        assert (parts.beside, set(parts.held_out) - set(parts.streams)) == (heard, heard)
        assert MIRAGE.parts(setup(phase, without="audio")).beside == frozenset()


@pytest.mark.parametrize("phase", PHASES)
def test_every_condition_has_a_rate_of_dropout_and_all_have_one_together(phase: str) -> None:
    parts = MIRAGE.parts(setup(phase))
    together = {"all": 0.05} if phase in HEARING else {}
    assert parts.dropout == dict.fromkeys((*parts.texts, *parts.conditions), 0.1) | together


def test_short_streams_are_whole_and_the_video_is_divided() -> None:
    assert MIRAGE.parts(setup("video_pretraining")).whole == frozenset()
    for phase in HEARING:
        assert MIRAGE.parts(setup(phase)).whole == {"sound"}


def test_each_component_has_a_rate_and_only_the_sound_may_be_missing_in_a_parent() -> None:
    components = MIRAGE.components(setup())
    assert {name: (one.rate, one.group, one.reads, one.optional) for name, one in components.items()} == {
        "video": ("video", None, ("video",), False),
        "text": ("video", None, ("text",), False),
        "sound": ("sound", None, ("sound",), True),
    }
    model = build(MIRAGE, setup(), tuple(components), seed=0)
    config = OptimizerConfig(lr={"video": 1e-4, "sound": 1e-3}, weight_decay=0.1)
    groups = parameter_groups(model, config, components)
    for group in groups:
        for name in group["names"]:
            rate = 1e-3 if name.startswith("sound.") else 1e-4
            matrix = model.get_parameter(name).ndim > 1 and not name.endswith("frequencies")
            assert (group["lr"], bool(group["weight_decay"])) == (rate, matrix), name
    assert sum(len(group["names"]) for group in groups) == len([*model.parameters()])


def test_mochis_weights_bring_what_they_have() -> None:
    """Video and text: the parent of the slot is all that a silent phase builds."""
    assert MIRAGE.slots == {"video": ("video", "text")}
    assert set(MIRAGE.slots["video"]) == MIRAGE.parts(setup("video_pretraining")).components
    assert set(MIRAGE.slots["video"]) == MIRAGE.parts(setup("warm_up")).frozen


@pytest.mark.parametrize(
    ("changed", "component"),
    [
        ({"sound_width": 96}, "sound"),
        ({"sound_features": 40}, "sound"),
        ({"sound_bias": 0.0}, "sound"),
        ({"text_positions": "learned"}, "text"),
    ],
)
def test_a_component_records_what_determines_its_parameters(changed: dict[str, Any], component: str) -> None:
    """A parent with another value is of another architecture there, and there alone."""
    plain, other = setup(), setup()
    other.model = MirageConfig(preset="toy", **changed)
    ours, theirs = MIRAGE.components(plain), MIRAGE.components(other)
    assert [name for name in ours if ours[name].shape != theirs[name].shape] == [component]


@pytest.mark.parametrize(
    "changed", [{"sound_positions": "relative"}, {"text_time": "all"}, {"reference_time": "shared"}]
)
def test_keys_without_parameters_keep_the_shapes(changed: dict[str, Any]) -> None:
    other = setup()
    other.model = MirageConfig(preset="toy", **changed)
    shapes = [{name: one.shape for name, one in MIRAGE.components(made).items()} for made in (setup(), other)]
    models = [build(MIRAGE, made, ("video", "text", "sound"), seed=None) for made in (setup(), other)]
    assert shapes[0] == shapes[1]
    sizes = [{name: value.shape for name, value in model.state_dict().items()} for model in models]
    assert sizes[0] == sizes[1]


def test_the_ladder_has_a_rung_per_condition_that_guidance_leaves_out() -> None:
    """The reference is always used."""
    for phase in HEARING:
        assert [(set(r.without), r.scale) for r in MIRAGE.ladder(setup(phase))] == [
            ({"text", "sound"}, None),
            ({"sound"}, "text"),
            (set(), "sound"),
        ]
    assert [(set(r.without), r.scale) for r in MIRAGE.ladder(setup("video_pretraining"))] == [
        ({"text"}, None),
        (set(), "text"),
    ]
    assert {rung.scale for rung in MIRAGE.ladder(setup())} - {None} == MIRAGE.scales.keys()


@pytest.mark.parametrize("scale", [2.0, 0.0, AnnealedScale(first=3.0, last=1.0)])
def test_a_sound_scale_needs_a_sound(scale: float | AnnealedScale) -> None:
    for phase in HEARING:
        MIRAGE.check(setup(phase), {"text": 4.0, "sound": scale})
    with pytest.raises(
        RecipeError, match=r"^recipe: `sampling\.scales\.sound` needs a sound, which video_pretraining phases lack$"
    ):
        MIRAGE.check(setup("video_pretraining"), {"sound": scale})
    MIRAGE.check(setup("video_pretraining"), {"text": 4.0, "sound": 1.0})


@pytest.mark.parametrize(
    ("phase", "name"), [("video_pretraining", "video"), ("video_pretraining", "text"), ("stitch", "sound")]
)
def test_a_codec_that_a_phase_reads_must_be_there(phase: str, name: str) -> None:
    with pytest.raises(RecipeError, match=rf"^recipe: `codecs\.{name}` is missing: {phase} phases need it$"):
        MIRAGE.check(setup(phase, without=name), {})


def test_a_codec_that_a_phase_does_not_read_may_be_missing() -> None:
    MIRAGE.check(setup("video_pretraining", without="sound"), {})
    MIRAGE.check(setup("reference", without="audio"), {})


@pytest.mark.parametrize(
    ("codecs", "message"),
    [
        ({"video": LinearVideoConfig(channels=9)}, r"`codecs\.video\.channels` is 9, .* takes 12$"),
        ({"text": ByteTextConfig(dim=32)}, r"`codecs\.text\.dim` is 32, .* takes 64$"),
        (
            {"sound": LogMelConfig(channels=40)},
            r"`codecs\.sound\.channels` is 40, .* `model\.preset` toy takes 32; set `model\.sound_features`$",
        ),
    ],
)
def test_codecs_must_fit_the_network(codecs: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        MIRAGE.check(setup(**codecs), {})


def test_what_the_message_proposes_is_a_way_out() -> None:
    other = setup(sound=LogMelConfig(channels=40))
    other.model = MirageConfig(preset="toy", sound_features=40)
    MIRAGE.check(other, {})


def test_what_shards_store_follows_from_the_codecs() -> None:
    assert {name: (s.codec, s.of) for name, s in MIRAGE.stored(CODECS).items()} == {
        "video": ("video", "clip"),
        "sound": ("sound", "clip"),
        "audio": ("audio", "clip"),
        "reference": ("video", "reference"),
    }
    assert MIRAGE.stored({"sound": CODECS["sound"]}).keys() == {"sound"}
    assert MIRAGE.texts(CODECS) == {"text": "text"}
    assert MIRAGE.texts({}) == {}
    used = {stream.codec for stream in MIRAGE.stored(CODECS).values()} | set(MIRAGE.texts(CODECS).values())
    assert MIRAGE.codecs.keys() == used
    assert {name: codec.medium for name, codec in CODECS.items()} == MIRAGE.codecs


def test_tokens_are_patches_of_the_video_and_steps_of_the_sound() -> None:
    grids = {
        "video": Grid(channels=12, shape=(20, 160, 90), rate=Fraction(5)),
        "reference": Grid(channels=12, shape=(2, 160, 90), rate=Fraction(5)),
        "sound": Grid(channels=1024, shape=(100,), rate=Fraction(25)),
    }
    assert MIRAGE.tokens(setup(), grids) == {"video": 72_000, "reference": 7_200, "sound": 100}
    odd = Grid(channels=12, shape=(20, 161, 90), rate=Fraction(5))
    with pytest.raises(ValueError, match=r"^video: "):
        MIRAGE.tokens(setup(), {"video": odd})


def test_what_is_kept_beside_is_no_input() -> None:
    streams: Any = dict.fromkeys(("video", "sound", "audio", "reference"), torch.zeros(1))
    assert MIRAGE.network().inputs(setup(), streams).keys() == {"video", "sound", "reference"}
