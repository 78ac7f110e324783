"""Recipes of schema 2, as runs recorded them and as files state them, in schema 3."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from talkies.config import RecipeError
from talkies.config.canonical import NOT_HASHED, differing, recipe_hash, to_dict
from talkies.config.decode import decode_values
from talkies.config.merge import merge
from talkies.config.migrations import MOVED, from_2, hash_of, migrated
from talkies.config.source import LoadedRecipe, load, unresolved
from talkies.flow.config import FlowConfig, SamplingConfig
from talkies.models.systems import SYSTEMS
from talkies.recipe.check import check
from talkies.recipe.config import PhaseRecipe, decode_phase, decode_recipe

HERE = Path(__file__).parent
MOVA = HERE.parents[1] / "recipes" / "mova"
OLD = json.loads((HERE / "recipe_of_2.json").read_text())
"""Every recipe of recipes/mova as the last version of schema 2 recorded it, with its hash in schema 2."""
DEFAULTS = json.loads((HERE / "defaults_2.json").read_text())
PHASES = [name for name, known in OLD.items() if known["recipe"]["kind"] == "phase"]
WANTED: dict[str, Any] = {
    "phase": {"kind": "joint", "text_dropout": 0.2, "video_loss_weight": 1.0, "audio_loss_weight": 0.2},
    "train": {
        "kind": "lora",
        "rank": 16,
        "alpha": 16,
        "dropout": 0.0,
        "targets": ["q", "k", "v", "o", "ffn.0", "ffn.2"],
    },
    "parents": {"base": "high_resolution"},
    "flow": {"schedule": {"kind": "shifted", "shifts": {"video": 5.0, "audio": 5.0}}, "shared": False},
    "sampling": {
        "steps": 20,
        "schedule": {"kind": "shifted", "shifts": {"video": 5.0, "audio": 5.0}},
        "scales": {"text": 1.0, "bridge": 1.0},
    },
}


def recipe_of(values: dict[str, Any]) -> Any:
    return decode_recipe(LoadedRecipe(file=Path("test"), values=migrated(values), origins={}), SYSTEMS)


@pytest.mark.parametrize("name", OLD)
def test_a_recorded_recipe_is_the_one_in_the_repository(name: str) -> None:
    recipe, recorded = decode_recipe(load(MOVA / f"{name}.yaml"), SYSTEMS), OLD[name]
    # Parents are named by how they are imported since then.
    found = recipe_of(recorded["recipe"])
    found = replace(found, parents=recipe.parents) if isinstance(recipe, PhaseRecipe) else found
    assert recipe_hash(found) == recipe_hash(recipe)
    if name not in PHASES:
        assert recorded["recipe_hash"] == recipe_hash(recipe), "a preparation keeps its folder"


def test_the_values_of_an_adapter() -> None:
    """Its phase is the joint phase that it adapts; what has not moved is as it was."""
    recorded = OLD["toy/lora"]["recipe"]
    found, before = from_2(recorded), json.dumps(recorded)
    assert {key: found.get(key) for key in WANTED} == WANTED
    rest = recorded.keys() - WANTED.keys()
    assert found.keys() == {*rest, *WANTED}
    assert {key: found[key] for key in rest} == {key: recorded[key] for key in rest}
    assert json.dumps(recorded) == before


@pytest.mark.parametrize("name", [name for name in PHASES if OLD[name]["recipe"]["phase"]["kind"] != "lora"])
def test_the_values_of_a_phase(name: str) -> None:
    recorded = OLD[name]["recipe"]
    found = from_2(recorded)
    assert "train" not in found
    assert {"experts": "alternate", **found["phase"]} == {"experts": "alternate", **recorded["phase"]}
    assert "experts" not in found["phase"]
    assert found["parents"] == {slot: spec for slot, spec in recorded["parents"].items() if spec is not None}
    assert found["flow"]["schedule"]["shifts"] == {
        stream: recorded["flow"][stream]["shift"] for stream in ("video", "audio")
    }
    assert found["sampling"]["scales"]["text"] == recorded["sampling"]["text_scale"]


def test_a_preparation_is_untouched() -> None:
    recorded = OLD["toy/prepare"]["recipe"]
    assert from_2(recorded) == recorded


@pytest.mark.parametrize(
    ("key", "kind", "name"), [("flow", FlowConfig, "Flow"), ("sampling", SamplingConfig, "Sampling")]
)
def test_the_defaults_of_schema_2_are_those_of_schema_3(key: str, kind: Any, name: str) -> None:
    """So a file that leaves keys out means the same in both."""
    spelt_out = dict.fromkeys([key], DEFAULTS[f"{name}Config"])
    assert differing(decode_values(kind, from_2(spelt_out)[key], where="test")) == differing(kind())


@pytest.mark.parametrize("times", ["independent", "shared"])
def test_shared_times(times: str) -> None:
    assert from_2({"flow": {"times": times}}) == {"flow": {"shared": times == "shared"}}


@pytest.mark.parametrize(
    "values",
    [
        {"flow": 3, "phase": "lora", "sampling": None, "parents": []},
        {"phase": {"rank": 3}},
        {"flow": {"vidoe": {"shift": 3.0}, "times": "often", "audio": {"shift": 2.0, "extra": 1}}},
        {"flow": {"audio": "???"}, "sampling": {"stpes": 3}},
        {"phase": {"kind": "lora", "rank": 3}, "train": {"kind": "all"}},
        {"phase": {"kind": "joint", "experts": "both"}},
    ],
)
def test_what_schema_2_does_not_know_is_left_to_the_decoder(values: dict[str, Any]) -> None:
    assert from_2(values) == values


def by_keys(*changes: tuple[str, Any]) -> str:
    """The hash of the toy's first joint phase with changed sections."""
    recipe = decode_phase(
        load(MOVA / "toy" / "joint_phase1.yaml", [f"{key}={json.dumps(v)}" for key, v in changes]), SYSTEMS
    )
    return recipe_hash(recipe)


@pytest.mark.parametrize(
    ("key", "default", "other"),
    [
        ("sampling.scales", 1.0, 2.0),
        ("sampling.scales", 1.0, {"kind": "annealed", "first": 3.0, "last": 1.0}),
        ("sampling.schedule.shifts", 5.0, 1.0),
        ("parents", None, "somewhere"),
    ],
)
def test_a_name_at_its_default_hashes_like_an_absent_one(key: str, default: Any, other: Any) -> None:
    name = {"sampling.scales": "text", "sampling.schedule.shifts": "video", "parents": "base"}[key]
    fixed = [("sampling.schedule.kind", "shifted")]
    absent, stated, changed = (
        by_keys(*fixed, *more) for more in ([], [(f"{key}.{name}", default)], [(f"{key}.{name}", other)])
    )
    assert absent == stated != changed


def test_the_hash_of_schema_2_cannot_be_made_from_a_recipe_of_schema_3() -> None:
    """It is recorded, and names the folder for good."""
    recipe = decode_phase(load(MOVA / "toy" / "lora.yaml"), SYSTEMS)
    assert hash_of(to_dict(recipe), NOT_HASHED) != OLD["toy/lora"]["recipe_hash"] != recipe_hash(recipe)


MOVES = [
    ("flow.video.shift", 3.0, "key `flow.video`", "`flow.schedule.shifts.video`"),
    ("flow.audio.shift", 3.0, "key `flow.audio`", "`flow.schedule.shifts.audio`"),
    ("flow.times", "shared", "key `flow.times`", "`flow.shared`"),
    ("sampling.video_shift", 3.0, "key `sampling.video_shift`", "`sampling.schedule.shifts.video`"),
    ("sampling.audio_shift", 3.0, "key `sampling.audio_shift`", "`sampling.schedule.shifts.audio`"),
    ("sampling.text_scale", 3.0, "key `sampling.text_scale`", "`sampling.scales.text`"),
    ("sampling.bridge_scale", 3.0, "key `sampling.bridge_scale`", "`sampling.scales.bridge`"),
    ("phase.kind", "lora", "kind 'lora' at `phase.kind`", "`train.kind: lora`"),
    ("phase.rank", 4, "key `phase.rank`", "`train.rank`"),
    ("phase.alpha", 4, "key `phase.alpha`", "`train.alpha`"),
    ("phase.dropout", 0.5, "key `phase.dropout`", "`train.dropout`"),
    ("phase.targets", ["q"], "key `phase.targets`", "`train.targets`"),
    ("phase.experts", "alternate", "key `phase.experts`", "no key replaces it, so remove it"),
]
"""Every key of schema 2 that schema 3 has not: with a value, how it is refused, and what is to be written instead."""
ADAPTER = ("rank", "alpha", "dropout", "targets")
BASE = {
    "extends": "toy/defaults.yaml",
    "name": "x",
    "phase": {"kind": "joint"},
    "parents": {"base": "y"},
    "data": {"shards": "low", "heldout": "low_heldout"},
    "steps": {"max": 3},
}


def nested(key: str, value: Any) -> dict[str, Any]:
    for name in reversed(key.split(".")):
        value = {name: value}
    return dict(value)


def written(folder: Path, values: dict[str, Any], name: str = "x.yaml") -> Path:
    """JSON is YAML."""
    (folder / name).write_text(json.dumps(values))
    return folder / name


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        decode_phase(load(path, overrides), SYSTEMS)
    return str(caught.value).split("\n")[0]


def alone(folder: Path, key: str, value: Any) -> dict[str, Any]:
    """The toy's defaults, a phase and an old key in one file, which has nothing else of schema 3 but defaults."""
    toy = unresolved(MOVA / "toy" / "defaults.yaml").values
    rest = {name: section for name, section in toy.items() if name not in ("flow", "sampling")}
    values = merge(merge(rest, {name: part for name, part in BASE.items() if name != "extends"}), nested(key, value))
    if key.startswith("phase.") and key.removeprefix("phase.") in ADAPTER:
        values["phase"]["kind"] = "lora"
    return values


def test_every_move_is_told() -> None:
    assert [*MOVED[3]] == [f"{key}=lora" if key == "phase.kind" else key for key, *_ in MOVES]


@pytest.mark.parametrize(("key", "value", "refused", "now"), MOVES)
def test_a_file_with_a_key_of_schema_2_is_told_what_to_write_or_to_state_it(
    key: str, value: Any, refused: str, now: str, tmp_path: Path
) -> None:
    values = alone(tmp_path, key, value)
    path = written(tmp_path, values)
    line = refusal(path)
    if key.removeprefix("phase.") in ADAPTER:  # which begins with the kind
        refused, now = "kind 'lora' at `phase.kind`", "`train.kind: lora`"
    assert line.startswith(f"recipe: unknown {refused} ({path}:1). It is of schema 2: ")
    assert now in line
    assert line.endswith(", or state `schema: 2`.")
    check(decode_phase(load(written(tmp_path, {"schema": 2, **values})), SYSTEMS))


@pytest.mark.parametrize(("key", "value", "refused", "now"), MOVES)
def test_a_file_that_extends_another_is_told_what_to_write(
    key: str, value: Any, refused: str, now: str, tmp_path: Path
) -> None:
    """And not to state schema 2, for then both would have to."""
    (tmp_path / "toy").mkdir()
    written(tmp_path / "toy", unresolved(MOVA / "toy" / "defaults.yaml").values, "defaults.yaml")
    path = written(tmp_path, merge(BASE, nested(key, value)))
    line = refusal(path)
    assert line.startswith(f"recipe: unknown {refused} ({path}:1). It is of schema 2: ")
    assert now in line
    assert "`schema" not in line
    assert line.endswith("remove it." if key == "phase.experts" else " instead.")


@pytest.mark.parametrize("recipe", ["joint_phase1", "lora"])
@pytest.mark.parametrize(("key", "value", "refused", "now"), MOVES)
def test_an_override_of_schema_2_is_told_what_to_write(
    key: str, value: Any, refused: str, now: str, recipe: str
) -> None:
    line = refusal(MOVA / "toy" / f"{recipe}.yaml", f"{key}={json.dumps(value)}")
    assert line.startswith(f"recipe: unknown {refused} (override). It is of schema 2: ")
    assert now in line
    assert "`schema" not in line


def test_an_adapter_written_as_told_is_one(tmp_path: Path) -> None:
    path = written(tmp_path, alone(tmp_path, "train", {"kind": "lora", "rank": 4}))
    check(decode_phase(load(path), SYSTEMS))


def test_schema_2_is_not_proposed_where_it_would_be_refused(tmp_path: Path) -> None:
    """With a key of schema 3 beside it, the file is of neither."""
    values = merge(alone(tmp_path, "flow.times", "shared"), {"flow": {"schedule": {"kind": "uniform"}}})
    assert refusal(written(tmp_path, values)).endswith("write `flow.shared`, true or false instead.")


def test_a_section_of_another_kind_of_recipe_is_not_taken_for_an_older_one(tmp_path: Path) -> None:
    path = written(tmp_path, {"kind": "prepare", "flow": {"times": "shared"}})
    with pytest.raises(RecipeError, match=r"^recipe: unknown key `flow` .*Known keys there"):
        decode_recipe(load(path), SYSTEMS)


def test_a_misspelt_key_is_not_taken_for_an_older_one() -> None:
    with pytest.raises(RecipeError, match=r"`flow.vidoe`.*Known keys there: schedule, shared, target, weighting"):
        decode_phase(load(MOVA / "toy" / "lora.yaml", ["flow.vidoe.shift=3"]), SYSTEMS)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr.towrs=1e-3", "unknown key `optimizer.lr.towrs`; known: towers, bridge"),
        ("sampling.scales.txt=2", "unknown key `sampling.scales.txt`; known: text, bridge"),
        ("flow.schedule.shifts.vidoe=2", "unknown key `flow.schedule.shifts.vidoe`; known: video, audio"),
        (
            "sampling.schedule={kind: shifted, shifts: {speech: 2}}",
            "unknown key `sampling.schedule.shifts.speech`; known: ",
        ),
        ("parents.vidoe=x", "unknown key `parents.vidoe`; known: base, video, audio"),
        ("codecs.speech={kind: linear_audio}", "unknown key `codecs.speech`; known: video, audio, text"),
        ("codecs.video={kind: linear_audio}", "`codecs.video.kind` is linear_audio, which encodes audio: choose"),
        ("codecs.text={kind: linear_video}", "`codecs.text.kind` is linear_video, which encodes video: choose"),
        ("sampling.sampler.kind=ddim", "`sampling.sampler.kind` ddim does not fit `flow.target.kind` velocity"),
        ("flow.target.kind=v_prediction", "does not fit `flow.target.kind` v_prediction: use ddim or dpm_sde"),
    ],
)
def test_names_that_the_system_does_not_have_are_refused(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check(decode_phase(load(MOVA / "toy" / "joint_phase1.yaml", [override]), SYSTEMS))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "name", "message"),
    [
        (("optimizer", "lr"), "bridge", "missing key `optimizer.lr.bridge`"),
        (("codecs",), "text", "missing key `codecs.text`: the captions of mova models need it"),
        (("codecs",), "video", "`codecs.video` is missing: joint phases need it"),
    ],
)
def test_names_that_the_system_needs_are_required(section: tuple[str, ...], name: str, message: str) -> None:
    source = load(MOVA / "toy" / "joint_phase1.yaml")
    holder: Any = source.values
    for key in section:
        holder = holder[key]
    del holder[name]
    with pytest.raises(RecipeError, match=f"^recipe: {message}$"):
        check(decode_phase(source, SYSTEMS))
