"""What MOVA tells the house: phases, experts, guidance, streams and parameter groups."""

from types import SimpleNamespace

import pytest
from toy_streams import setup, toy

from talkies.codecs.config import ByteTextConfig, LinearAudioConfig, LinearVideoConfig
from talkies.config import RecipeError
from talkies.flow.config import AnnealedScale, ShiftedSchedule
from talkies.flow.schedule import level_grid
from talkies.models.mova.config import (
    COMPONENTS,
    PRESETS,
    AudioPretrainingConfig,
    JointConfig,
    VideoPretrainingConfig,
)
from talkies.models.mova.system import MOVA
from talkies.streams.system import Turn
from talkies.training.config import OptimizerConfig
from talkies.training.optimizer import parameter_groups

CODECS = {"video": LinearVideoConfig(), "audio": LinearAudioConfig(), "text": ByteTextConfig()}
PHASES = {"video": VideoPretrainingConfig(), "audio": AudioPretrainingConfig(), "joint": JointConfig()}


def with_codecs(phase: str, *, bridge: bool = True, **codecs: object) -> SimpleNamespace:
    made = setup(phase=PHASES[phase], bridge=bridge)
    made.codecs = {name: codec for name, codec in {**CODECS, **codecs}.items() if codec is not None}
    return made


def test_a_phase_builds_and_trains_its_parts() -> None:
    video, audio, joint = (MOVA.parts(with_codecs(phase)) for phase in PHASES)
    assert video.components == {"video_high", "video_low"}
    assert (video.targets, video.streams) == ({"video": 1.0}, ("video", "image"))
    assert audio.components == {"audio"}
    assert (audio.targets, audio.streams, audio.cycle) == ({"audio": 1.0}, ("audio",), (Turn(),))
    assert joint.components == set(COMPONENTS)
    assert (joint.targets, joint.streams) == ({"video": 1.0, "audio": 0.2}, ("video", "audio", "image"))
    assert MOVA.parts(with_codecs("joint", bridge=False)).components == set(COMPONENTS) - {"bridge"}
    for parts, rate in ((video, 0.1), (audio, 0.1), (joint, 0.2)):
        assert (parts.texts, parts.dropout) == ({"text"}, {"text": rate})


@pytest.mark.parametrize("phase", ["video", "joint"])
def test_the_experts_take_turns_and_share_the_levels_at_the_boundary(phase: str) -> None:
    """The high-noise expert first; the noise levels meet where the other begins, and nothing is left out."""
    high, low = MOVA.parts(with_codecs(phase)).cycle
    assert (high.inactive, low.inactive) == ({"video_low"}, {"video_high"})
    assert high.levels == {"video": (0.9, 1.0)}
    assert low.levels == {"video": (0.0, 0.9)}


def test_the_switch_is_strict_and_the_released_sampler_makes_it_after_18_steps() -> None:
    def active(level: float) -> str:
        (out,) = MOVA.parts(with_codecs("joint")).inactive({"video": level, "audio": 1.0 - level})
        return "video_high" if out == "video_low" else "video_low"

    assert [active(level) for level in (1.0 + 1e-15, 1.0, 0.9, 0.8999, 0.0)] == ["video_high"] * 3 + ["video_low"] * 2
    experts = [active(level) for level in level_grid(ShiftedSchedule(), "video", 50)[:-1]]
    assert experts == ["video_high"] * 18 + ["video_low"] * 32
    assert MOVA.parts(with_codecs("joint")).inactive({"audio": 0.95}) == frozenset()


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_boundary_of_a_preset_leaves_levels_to_both_experts(preset: str) -> None:
    assert 0 < PRESETS[preset].boundary < 1


def test_each_component_has_a_rate_and_each_expert_a_group_of_its_own() -> None:
    """Modulations do not decay, nor do vectors; only a Bridge may be missing in a parent."""
    components = MOVA.components(setup())
    assert {name: (one.rate, one.group, one.optional) for name, one in components.items()} == {
        "video_high": ("towers", "video_high", False),
        "video_low": ("towers", "video_low", False),
        "audio": ("towers", None, False),
        "bridge": ("bridge", None, True),
    }
    assert {name: set(one.reads) for name, one in components.items()} == {
        "video_high": {"video", "text"},
        "video_low": {"video", "text"},
        "audio": {"audio", "text"},
        "bridge": {"video", "audio", "text"},
    }
    config = OptimizerConfig(lr={"towers": 1e-4, "bridge": 1e-3}, weight_decay=0.1)
    decays = {name: bool(g["weight_decay"]) for g in parameter_groups(toy(), config, components) for name in g["names"]}
    assert decays == {
        name: parameter.ndim > 1 and not name.endswith("modulation") for name, parameter in toy().named_parameters()
    }


TASKS = {"joint": 0.5, "sound_to_video": 0.3, "video_to_sound": 0.2}


def test_a_clean_video_is_left_to_the_expert_of_low_noise() -> None:
    """Which the odd steps train; a task without a share is none."""
    made = with_codecs("joint")
    assert MOVA.parts(made).tasks == {}
    made.phase = JointConfig(tasks=TASKS)
    tasks = MOVA.parts(made).tasks
    assert {name: (task.share, set(task.given)) for name, task in tasks.items()} == {
        "joint": (0.5, set()),
        "sound_to_video": (0.3, {"audio"}),
        "video_to_sound": (0.2, {"video"}),
    }
    assert tasks["video_to_sound"].turns is not None
    cycle = MOVA.parts(made).cycle
    for turn in tasks["video_to_sound"].turns:
        assert cycle[turn].inactive == MOVA.parts(made).inactive({"video": 0.0, "audio": 1.0})


def test_the_ladder_has_a_rung_per_condition_that_the_phase_can_leave_out() -> None:
    assert [(set(r.without), r.scale) for r in MOVA.ladder(with_codecs("joint"))] == [
        ({"text", "bridge"}, None),
        ({"text"}, "bridge"),
        (set(), "text"),
    ]
    for other in (with_codecs("video"), with_codecs("audio"), with_codecs("joint", bridge=False)):
        assert [(set(r.without), r.scale) for r in MOVA.ladder(other)] == [({"text"}, None), (set(), "text")]


@pytest.mark.parametrize("scale", [2.0, 0.0, AnnealedScale(first=3.0, last=1.0)])
def test_a_bridge_scale_needs_a_bridge_between_two_streams(scale: float | AnnealedScale) -> None:
    MOVA.check(with_codecs("joint"), {"text": 4.0, "bridge": scale})
    for alone in ("video", "audio"):
        with pytest.raises(RecipeError, match=r"`sampling\.scales\.bridge` needs a Bridge, but this phase has one"):
            MOVA.check(with_codecs(alone), {"bridge": scale})
    with pytest.raises(RecipeError, match=r"needs a Bridge, but `model\.bridge` is false"):
        MOVA.check(with_codecs("joint", bridge=False), {"bridge": scale})
    for phase in PHASES:
        MOVA.check(with_codecs(phase, bridge=False), {"text": 4.0, "bridge": 1.0})


def test_codecs_must_be_there_and_fit_the_towers() -> None:
    for phase, name in (("video", "video"), ("audio", "audio"), ("joint", "audio"), ("joint", "text")):
        with pytest.raises(RecipeError, match=rf"`codecs\.{name}` is missing: \w+ phases need it"):
            MOVA.check(with_codecs(phase, **{name: None}), {})
    MOVA.check(with_codecs("video", audio=None), {})
    MOVA.check(with_codecs("audio", video=None), {})
    with pytest.raises(RecipeError, match=r"`codecs\.video` gives 9 latent channels, so .* 20 in and 9 out"):
        MOVA.check(with_codecs("video", video=LinearVideoConfig(channels=9)), {})
    with pytest.raises(RecipeError, match=r"`codecs\.audio` gives 7 latent channels"):
        MOVA.check(with_codecs("joint", audio=LinearAudioConfig(channels=7)), {})
    with pytest.raises(RecipeError, match=r"`codecs\.text\.dim` is 32, .* takes 64"):
        MOVA.check(with_codecs("joint", text=ByteTextConfig(dim=32)), {})


def test_each_codec_has_a_stream_or_a_text() -> None:
    used = {stream.codec for stream in MOVA.stored(CODECS).values()} | set(MOVA.texts(CODECS).values())
    assert MOVA.codecs.keys() == used
    assert {name: codec.medium for name, codec in CODECS.items()} == MOVA.codecs


def test_what_shards_store_follows_from_the_codecs() -> None:
    assert {name: (s.codec, s.of) for name, s in MOVA.stored(CODECS).items()} == {
        "video": ("video", "clip"),
        "audio": ("audio", "clip"),
        "image": ("video", "first frame"),
    }
    assert MOVA.stored({"audio": CODECS["audio"]}).keys() == {"audio"}
    assert MOVA.texts(CODECS) == {"text": "text"}
    assert MOVA.texts({}) == {}
