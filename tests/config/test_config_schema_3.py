"""Recipes of schema 2, as runs recorded them and as files state them, in schema 3."""

import json
from pathlib import Path
from typing import Any

import pytest

from talkies.config import RecipeError
from talkies.config.canonical import NOT_HASHED, differing, recipe_hash, to_dict
from talkies.config.decode import decode_values
from talkies.config.migrations import from_2, hash_of, migrated
from talkies.config.source import LoadedRecipe, load
from talkies.flow.config import FlowConfig, SamplingConfig
from talkies.models.systems import SYSTEMS
from talkies.recipe.check import check
from talkies.recipe.config import decode_phase, decode_recipe

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
    found = recipe_of(recorded["recipe"])
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


FILE = """extends: {root}/toy/defaults.yaml
name: x
phase: {{kind: joint, text_dropout: 0.5}}
data: {{shards: low, heldout: low_heldout}}
steps: {{max: 3}}
"""
LORA = FILE.replace("{{kind: joint, text_dropout: 0.5}}", "{{kind: lora, rank: 4}}") + "parents: {{base: y}}\n"


def written(folder: Path, text: str) -> Path:
    """A file of its own: overlays of a repository's file have its schema."""
    (folder / "toy").mkdir()
    (folder / "toy" / "defaults.yaml").write_text((MOVA / "toy" / "defaults.yaml").read_text())
    (folder / "x.yaml").write_text(text.format(root="."))
    return folder / "x.yaml"


@pytest.mark.parametrize(
    ("text", "overrides", "key", "now"),
    [
        (FILE + "flow: {{video: {{shift: 3.0}}}}\n", [], "key `flow.video`", "`flow.schedule.shifts.video`"),
        (FILE + "flow: {{times: shared}}\n", [], "key `flow.times`", "`flow.shared`"),
        (FILE + "sampling: {{text_scale: 3.0}}\n", [], "key `sampling.text_scale`", "`sampling.scales.text`"),
        (LORA, [], "kind 'lora' at `phase.kind`", "`train.kind`, `train.rank`"),
    ],
)
def test_a_file_with_keys_of_schema_2_is_told_to_state_it(
    text: str, overrides: list[str], key: str, now: str, tmp_path: Path
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        decode_phase(load(path, overrides), SYSTEMS)
    line = str(caught.value).split("\n")[0]
    assert line.startswith(f"recipe: unknown {key} ({path}:")
    assert line.endswith(f" It is of schema 2: state `schema: 2`, or use {now}.")
    for file in (path, path.parent / "toy" / "defaults.yaml"):  # files that are merged are of one schema
        file.write_text("schema: 2\n" + file.read_text())
    found = decode_phase(load(path, overrides), SYSTEMS)
    check(found)
    shown = {place for key, place in load(path, overrides).origins.items() if key.startswith(("train", "flow"))}
    assert all(place.startswith(str(tmp_path)) for place in shown), shown


@pytest.mark.parametrize(
    ("override", "now"),
    [("flow.audio.shift=2.0", "`flow.schedule.shifts.audio`"), ("sampling.bridge_scale=2", "`sampling.scales.bridge`")],
)
def test_an_override_of_schema_2_is_told_the_key_of_today(override: str, now: str) -> None:
    with pytest.raises(RecipeError) as caught:
        decode_phase(load(MOVA / "toy" / "joint_phase1.yaml", [override]), SYSTEMS)
    assert f"(override). It is of schema 2: now it is {now}." in str(caught.value)


def test_a_misspelt_key_is_not_taken_for_an_older_one() -> None:
    with pytest.raises(RecipeError, match=r"`phase.rank`.*Did you mean `train.rank`\?"):
        decode_phase(load(MOVA / "toy" / "lora.yaml", ["phase.rank=3"]), SYSTEMS)
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
        ("flow.target.kind=v_prediction", "use euler for velocity, ddim for v_prediction"),
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
        (("codecs",), "text", "missing key `codecs.text`: the captions of a mova model need it"),
        (("codecs",), "video", "`codecs.video` is missing: a joint phase needs it"),
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
