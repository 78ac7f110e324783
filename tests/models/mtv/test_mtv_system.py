"""What MTV tells the house: phases, what each trains, conditions, guidance, streams and parameter groups."""

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from talkies.codecs.config import ByteTextConfig, LinearVideoConfig, LogMelConfig, WaveformConfig
from talkies.codecs.demix_config import BandsConfig, DemucsConfig, TracksConfig
from talkies.config import RecipeError
from talkies.flow.config import AnnealedScale
from talkies.flow.known_config import KnownFrames
from talkies.models.build import build
from talkies.models.mtv.config import PRESETS, MtvConfig
from talkies.models.mtv.options import MEDIA, SCALES
from talkies.models.mtv.phases import SteeringConfig, VideoPretrainingConfig
from talkies.models.mtv.system import MTV
from talkies.streams import Grid
from talkies.streams.system import Turn
from talkies.training.config import OptimizerConfig
from talkies.training.optimizer import parameter_groups

TRACKS = ("speech", "effects", "music")
CODECS = {
    "video": LinearVideoConfig(),
    "sound": LogMelConfig(channels=PRESETS["toy"].control.features),
    "demix": BandsConfig(),
    "audio": WaveformConfig(hop=640),
    "text": ByteTextConfig(),
}
SILENT, STEERED = VideoPretrainingConfig(), SteeringConfig()
HEAD = KnownFrames(head=0.22)


def setup(
    phase: Any = STEERED, *, model: dict[str, Any] | None = None, without: tuple[str, ...] = (), **codecs: Any
) -> Any:
    """What MTV sees of a recipe, `without` some of the codecs, or with others."""
    found = {name: codec for name, codec in (CODECS | codecs).items() if name not in without}
    return SimpleNamespace(model=MtvConfig(**{"preset": "toy"} | (model or {})), phase=phase, codecs=found)


WAN = {"preset": "toy-wan"}


@pytest.mark.parametrize("model", [{}, WAN], ids=["cogvideox", "wan"])
def test_a_phase_builds_its_parts(model: dict[str, Any]) -> None:
    backbone = {"video"} if model else {"video", "attention"}
    silent, steered = (MTV.parts(setup(phase, model=model)) for phase in (SILENT, STEERED))
    assert (silent.components, steered.components) == (backbone, backbone | {"control"})
    assert (silent.streams, steered.streams) == (("video",), ("video", "effects", "music", "speech"))
    for parts in (silent, steered):
        assert (parts.targets, parts.texts, parts.cycle) == ({"video": 1.0}, {"text"}, (Turn(),))
        assert (parts.blocks, parts.whole, parts.tasks) == (4, frozenset(), {})


@pytest.mark.parametrize(
    ("trains", "model", "frozen"),
    [
        ("control", {}, {"video", "attention"}),
        ("control_and_attention", {}, {"video"}),
        ("all", {}, set()),
        ("control", WAN, {"video"}),
        ("all", WAN, set()),
    ],
)
def test_trains_says_what_of_the_backbone_is_frozen(trains: Any, model: dict[str, Any], frozen: set[str]) -> None:
    """The control never is."""
    assert MTV.parts(setup(SteeringConfig(trains=trains), model=model)).frozen == frozen


def test_pretraining_freezes_nothing_and_hears_nothing() -> None:
    parts = MTV.parts(setup(SILENT))
    assert (parts.frozen, parts.conditions, parts.beside, parts.groups) == (set(), set(), set(), {})
    assert parts.dropout == {"text": 0.1}


def test_tracks_are_dropped_together() -> None:
    for tracks in (TRACKS, ("speech", "speech2"), ("music",)):
        parts = MTV.parts(setup(SteeringConfig(tracks=tracks, text_dropout=0.3), model={"speakers": 2}))
        assert parts.dropout == {"text": 0.3, "tracks": 0.05}
        assert (parts.groups, parts.conditions) == ({"tracks": {*tracks}}, {*tracks})


def test_the_sound_itself_is_kept_beside_and_not_read() -> None:
    assert MTV.parts(setup()).beside == {"audio"}
    assert MTV.parts(setup(without=("audio",))).beside == set()


@pytest.mark.parametrize("phase", [SILENT, STEERED], ids=lambda phase: phase.kind)
def test_known_frames_are_of_the_video(phase: Any) -> None:
    assert MTV.parts(setup(phase)).known == {}
    assert MTV.parts(setup(replace(phase, known_frames=HEAD))).known == {"video": HEAD}


@pytest.mark.parametrize("model", [{}, WAN], ids=["cogvideox", "wan"])
def test_each_component_has_a_rate_and_only_the_control_may_be_missing_in_a_parent(model: dict[str, Any]) -> None:
    """Vectors of speakers, modulations and tables have no weight decay."""
    made = setup(model=model | {"speakers": 2})
    components = MTV.components(made)
    expected = {name: ("video", None, ("video", "text"), False) for name in components if name != "control"}
    assert {name: (one.rate, one.group, one.reads, one.optional) for name, one in components.items()} == {
        **expected,
        "control": ("control", None, ("sound",), True),
    }
    network = build(MTV, made, tuple(components), seed=0)
    assert [name for name, _ in network.named_children()] == [*components]
    config = OptimizerConfig(lr={"video": 1e-4, "control": 1e-3}, weight_decay=0.1)
    groups = parameter_groups(network, config, components)
    for group in groups:
        for name in group["names"]:
            rate = 1e-3 if name.startswith("control.") else 1e-4
            matrix = network.get_parameter(name).ndim > 1
            undecayed = name == "control.speakers.vectors" or (bool(model) and name.endswith(".modulation"))
            assert (group["lr"], bool(group["weight_decay"])) == (rate, matrix and not undecayed), name
    assert sum(len(group["names"]) for group in groups) == len([*network.parameters()])


def test_the_backbones_weights_bring_what_they_have() -> None:
    assert {*MTV.slots["video"]} == MTV.parts(setup(SILENT)).components
    assert {*MTV.slots["video"]} == {*MTV.components(setup())} - {"control"}


@pytest.mark.parametrize(
    "changed",
    [
        {"speakers": 2},
        {"features": 40},
        {"reach": 1},
        {"convolution": "per_token"},
        {"injection": "shared"},
        {"music": "interval"},
    ],
    ids=str,
)
def test_a_component_records_what_determines_its_parameters(changed: dict[str, Any]) -> None:
    """A parent with another value is of another architecture in the control, and there alone."""
    ours, theirs = (MTV.components(made) for made in (setup(), setup(model=changed)))
    assert [name for name in ours if ours[name].shape != theirs[name].shape] == ["control"]


@pytest.mark.parametrize("changed", [{"initial": "scaled"}, {"intervals": 3}], ids=str)
def test_keys_without_parameters_keep_the_shapes(changed: dict[str, Any]) -> None:
    """A parent may have begun otherwise, and intervals may be other ones."""
    shapes = [
        {name: one.shape for name, one in MTV.components(made).items()} for made in (setup(), setup(model=changed))
    ]
    assert shapes[0] == shapes[1]


def test_a_control_belongs_to_its_backbone() -> None:
    ours, theirs = (MTV.components(made)["control"].shape for made in (setup(), setup(model=WAN)))
    assert ours != theirs


def test_the_ladder_guides_by_the_text_and_by_all_tracks() -> None:
    """With both scales equal it is the one difference of the released code: neither, against both."""
    for tracks in (TRACKS, ("music",)):
        rungs = MTV.ladder(setup(SteeringConfig(tracks=tracks)))
        assert [({*rung.without}, rung.scale) for rung in rungs] == [
            ({"text", *tracks}, None),
            ({*tracks}, "text"),
            (set(), "tracks"),
        ]
    assert [({*rung.without}, rung.scale) for rung in MTV.ladder(setup(SILENT))] == [({"text"}, None), (set(), "text")]
    assert {rung.scale for rung in MTV.ladder(setup())} - {None} == MTV.scales.keys() == SCALES.keys()
    assert {*TRACKS, "speech2"} < MEDIA.keys()


@pytest.mark.parametrize("scale", [2.0, 0.0, AnnealedScale(first=3.0, last=1.0)], ids=str)
def test_a_scale_of_tracks_needs_tracks(scale: float | AnnealedScale) -> None:
    MTV.check(setup(), {"text": 4.0, "tracks": scale})
    with pytest.raises(
        RecipeError,
        match=r"^recipe: `sampling\.scales\.tracks` needs tracks, which video_pretraining phases lack$",
    ):
        MTV.check(setup(SILENT), {"tracks": scale})
    MTV.check(setup(SILENT), {"text": 4.0, "tracks": 1.0})


@pytest.mark.parametrize(
    ("phase", "name"),
    [(SILENT, "video"), (SILENT, "text"), (STEERED, "text"), (STEERED, "sound"), (STEERED, "demix")],
)
def test_a_codec_that_a_phase_reads_must_be_there(phase: Any, name: str) -> None:
    with pytest.raises(RecipeError, match=rf"^recipe: `codecs\.{name}` is missing: {phase.kind} phases need it$"):
        MTV.check(setup(phase, without=(name,)), {})


def test_a_codec_that_a_phase_does_not_read_may_be_missing() -> None:
    MTV.check(setup(SILENT, without=("sound", "demix", "audio")), {})
    MTV.check(setup(without=("audio",)), {})


@pytest.mark.parametrize(
    ("codecs", "message"),
    [
        ({"video": LinearVideoConfig(channels=9)}, r"`codecs\.video\.channels` is 9, .* takes 12$"),
        ({"text": ByteTextConfig(dim=32)}, r"`codecs\.text\.dim` is 32, .* takes 64$"),
        (
            {"sound": LogMelConfig(channels=40)},
            r"`codecs\.sound\.channels` is 40, .* `model\.preset` toy takes \d+; set `model\.features`$",
        ),
        (
            {"video": LinearVideoConfig(stride=8)},
            r"`codecs\.video\.stride` is 8, .* has intervals of \d frames: choose another",
        ),
    ],
    ids=lambda x: str(x)[:20],
)
def test_codecs_must_fit_the_network(codecs: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        MTV.check(setup(**codecs), {})


@pytest.mark.parametrize(
    ("codecs", "model", "message"),
    [
        ({"video": LinearVideoConfig(channels=9)}, {}, r"the network of `model\.backbone` takes 12$"),
        ({"text": ByteTextConfig(dim=32)}, {}, r"the network of `model\.backbone` takes 64$"),
        ({"sound": LogMelConfig(channels=40)}, {}, r"`model\.preset` toy takes 80; set `model\.features`$"),
        ({"video": LinearVideoConfig(stride=8)}, {}, r"the network of `model\.preset` toy has intervals of 2 frames"),
        ({}, {"features": 40}, r"`codecs\.sound\.channels` is 80, but `model\.features` is 40: make them equal$"),
    ],
    ids=lambda x: str(x)[:20],
)
def test_the_key_that_decides_a_size_is_named(codecs: dict[str, Any], model: dict[str, Any], message: str) -> None:
    """Of the backbone `model.backbone` where it is given; of the control the preset, or its own keys."""
    backbone = PRESETS["toy"].backbone
    with pytest.raises(RecipeError, match=message):
        MTV.check(setup(**codecs, model={"backbone": backbone, **model}), {})


def test_what_the_message_proposes_is_a_way_out() -> None:
    MTV.check(setup(sound=LogMelConfig(channels=40), model={"features": 40}), {})
    MTV.check(setup(SteeringConfig(tracks=(*TRACKS, "speech2")), model={"speakers": 2}), {})
    MTV.check(setup(SteeringConfig(trains="control"), model=WAN), {})


@pytest.mark.parametrize("phase", [replace(SILENT, known_frames=HEAD), replace(STEERED, known_frames=HEAD)])
def test_wan_has_one_noise_level_for_all_steps(phase: Any) -> None:
    MTV.check(setup(phase), {})
    with pytest.raises(RecipeError, match=r"^recipe: `phase\.known_frames` .* `model\.preset` toy-wan .*: remove it$"):
        MTV.check(setup(phase, model=WAN), {})


def test_the_attention_of_wan_is_not_on_its_own() -> None:
    with pytest.raises(RecipeError, match=r"^recipe: `phase\.trains` is control_and_attention, .* choose control or"):
        MTV.check(setup(model=WAN), {})


@pytest.mark.parametrize(
    ("tracks", "codecs", "message"),
    [
        ((), {}, r"`phase\.tracks` is empty: name one or more tracks, each once$"),
        (("speech", "speech"), {}, r"`phase\.tracks` is speech, speech: name one or more tracks, each once$"),
        (("speech2",), {}, r"names speech2, a second speaker, without speech: add speech$"),
        (
            (*TRACKS, "speech2"),
            {},
            r"names speech2, but the network hears speech, effects, music: set `model\.speakers` to 2, or drop it$",
        ),
        (
            TRACKS,
            {"demix": TracksConfig(names=("speech", "effects"))},
            r"names music, but `codecs\.demix` parts a sound into speech, effects$",
        ),
    ],
    ids=["none", "twice", "second alone", "unheard", "not parted"],
)
def test_tracks_must_be_there(tracks: Any, codecs: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=r"^recipe: `phase\.tracks` " + message.removeprefix(r"`phase\.tracks` ")):
        MTV.check(setup(SteeringConfig(tracks=tracks), **codecs), {})


def test_what_shards_store_follows_from_the_codecs() -> None:
    """A stream for every track that the demixer parts and the network knows."""

    def stored(codecs: dict[str, Any]) -> dict[str, tuple[str, str, str | None]]:
        return {name: (s.codec, s.of, s.track) for name, s in MTV.stored(codecs).items()}

    plain = {"video": ("video", "clip", None), "audio": ("audio", "clip", None)}
    tracks = {name: ("sound", "clip", name) for name in ("speech", "speech2", "effects", "music")}
    assert stored(CODECS) == plain | tracks
    three = plain | {name: tracks[name] for name in TRACKS}
    assert stored(CODECS | {"demix": DemucsConfig(weights="here")}) == three
    for lacking in ("demix", "sound"):
        assert stored({name: codec for name, codec in CODECS.items() if name != lacking}) == plain
    assert (MTV.texts(CODECS), MTV.texts({})) == ({"text": "text"}, {})
    assert {name: codec.medium for name, codec in CODECS.items()} == MTV.codecs


def test_tokens_are_patches_of_the_video() -> None:
    video = Grid(channels=16, shape=(13, 60, 90), rate=Fraction(6))
    grids = {"video": video, "speech": Grid(channels=80, shape=(49,), rate=Fraction(24))}
    assert MTV.tokens(setup(), grids) == {"video": 17_550}
    assert MTV.tokens(setup(model={"intervals": 13}), grids) == {"video": 17_550}
    assert MTV.tokens(setup(model={"intervals": 99}), {"speech": grids["speech"]}) == {}
    with pytest.raises(ValueError, match=r"^video: latent shape "):
        MTV.tokens(setup(), {"video": replace(video, shape=(13, 61, 90))})
    with pytest.raises(ValueError, match=r"^video: it has 13 latent steps, but `model\.intervals` is 14: at most one"):
        MTV.tokens(setup(model={"intervals": 14}), grids)


def test_a_component_is_drawn_alike_with_and_without_the_others() -> None:
    """A backbone that was pretrained alone has the weights that it would begin with beside the control."""
    whole, alone = (build(MTV, setup(), c, seed=3) for c in (("video", "attention", "control"), ("video", "attention")))
    theirs = alone.state_dict()
    assert {name for name in whole.state_dict() if not name.startswith("control.")} == theirs.keys()
    assert all(torch.equal(whole.state_dict()[name], value) for name, value in theirs.items())
