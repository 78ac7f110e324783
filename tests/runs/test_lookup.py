"""Runs named by an older schema are found by their recorded recipes, and no other runs are."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from talkies.config import CheckpointError
from talkies.config.canonical import NOT_HASHED, identifying, recipe_hash, to_dict
from talkies.config.migrations import MIGRATIONS, NEWEST, hash_of, migrated
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.curriculum import Curriculum, digest_of, load_curriculum
from talkies.runs.lookup import CURRICULUM_FILE, check_curriculum_of, check_run_of, curriculum_of, run_of
from talkies.runs.recorded import check_sum, values_of
from talkies.runs.records import CURRICULUM, RECIPE
from talkies.runs.run_curriculum import record_curriculum

TOY = Path(__file__).parents[2] / "recipes" / "mova" / "toy"
RECORDED = json.loads((Path(__file__).parents[1] / "config" / "recipe_of_2.json").read_text())
OLD = {name: RECORDED[f"toy/{name}"]["recipe"] for name in ("video_pretraining", "audio_pretraining")}
"""Recorded values, in which schema 2 does not differ from schema 1."""


@pytest.fixture(scope="module")
def curriculum() -> Curriculum:
    return load_curriculum(TOY / "curriculum.yaml", systems=SYSTEMS)


@pytest.fixture(scope="module")
def recipe(curriculum: Curriculum) -> PhaseRecipe:
    return curriculum.phases[0]


def write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(values))


def old_run(folder: Path, recipe: PhaseRecipe) -> Path:
    """A run as schema 1 recorded it."""
    values = {**OLD[recipe.name], "schema": 1, "seed": recipe.seed, "tracking": to_dict(recipe.tracking)}
    digest = hash_of(values, NOT_HASHED)
    write(folder / "recipe.json", {"recipe": values, "recipe_hash": digest, "parents": {}, "commit": "x"})
    return folder


def new_run(folder: Path, recipe: PhaseRecipe, name: str = "ab" * 32) -> Path:
    """A run as it is recorded now, perhaps named by the hash of an older schema."""
    values = values_of(recipe)
    known = {"recipe": values, "sha256": check_sum(values), "recipe_hash": name, "parents": {}, "commit": "x"}
    write(folder / "recipe.json", known)
    return folder


@pytest.mark.parametrize("record", [old_run, new_run])
def test_a_run_is_found_under_an_old_name(recipe: PhaseRecipe, tmp_path: Path, record: Any) -> None:
    old = record(tmp_path / f"{recipe.name}-0a1b2c3d" / "0001", recipe)
    record(tmp_path / f"{recipe.name}-99999999" / "0001", replace(recipe, seed=7))
    beside = replace(recipe, tracking=replace(recipe.tracking, experiment="another"))
    for same in (recipe, beside):
        assert run_of(tmp_path, same, new=False) == old
        assert run_of(tmp_path, same, new=True) == old.with_name("0002")
        check_run_of(old, same)
    other = replace(recipe, seed=3)
    assert run_of(tmp_path, other, new=False) == tmp_path / f"{recipe.name}-{recipe_hash(other)[:8]}" / "0001"
    with pytest.raises(CheckpointError, match="the recipe has changed since; submit it again"):
        check_run_of(old, other)


def test_the_name_of_today_comes_first(recipe: PhaseRecipe, tmp_path: Path) -> None:
    old_run(tmp_path / f"{recipe.name}-0a1b2c3d" / "0001", recipe)
    own = tmp_path / f"{recipe.name}-{recipe_hash(recipe)[:8]}" / "0001"
    own.mkdir(parents=True)
    assert run_of(tmp_path, recipe, new=False) == own
    check_run_of(own, recipe)


def test_two_old_runs_of_one_recipe_are_reported(recipe: PhaseRecipe, tmp_path: Path) -> None:
    """Schema 1 hashed them differently, so it is unknown which one is meant."""
    for digest in ("0a1b2c3d", "1a1b2c3d"):
        old_run(tmp_path / f"{recipe.name}-{digest}" / "0001", recipe)
    with pytest.raises(CheckpointError, match=r"0a1b2c3d.*, .*1a1b2c3d.* were all started .*: choose one by --folder"):
        run_of(tmp_path, recipe, new=False)
    assert run_of(tmp_path, recipe, new=True).parent.name == f"{recipe.name}-{recipe_hash(recipe)[:8]}"


def test_a_damaged_record_is_reported_and_skipped(
    recipe: PhaseRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = old_run(tmp_path / f"{recipe.name}-0a1b2c3d" / "0001", recipe)
    path = folder / "recipe.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    assert run_of(tmp_path, recipe, new=False).parent.name != folder.parent.name
    assert f"{path} is damaged: its `recipe` has the hash" in caplog.text


def test_a_section_may_be_renamed_that_a_record_needs(recipe: PhaseRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step is read, and the checksum is of what was recorded."""
    values = values_of(recipe)
    known = {"recipe": values, "sha256": check_sum(values), "recipe_hash": "x", "parents": {}}
    old = json.dumps(known).replace('"steps"', '"duration"')
    with pytest.raises(CheckpointError, match=r"in `recipe` its `steps\.max` must be a number > 0"):
        RECIPE.decode(old.encode(), "x")
    present = lambda values: {"steps" if key == "duration" else key: value for key, value in values.items()}  # noqa: E731
    monkeypatch.setattr("talkies.runs.records.migrated", partial(migrated, migrations=(*MIGRATIONS[:-1], present)))
    assert (
        RECIPE.decode(
            old.encode().replace(f'"schema": {NEWEST}'.encode(), f'"schema": {NEWEST - 1}'.encode()), "x"
        ).steps
        == recipe.steps.max
    )


def old_curriculum(folder: Path, curriculum: Curriculum) -> None:
    """As schema 1 recorded it: the phases that were begun, and the paths of their data."""
    write(folder / CURRICULUM_FILE, {"digest": "0a1b2c3d" * 8})
    data = f"{curriculum.prepare.name}-{hash_of(identifying(curriculum.located))[:8]}"
    for number, phase in enumerate(curriculum.phases[:2], 1):
        run = old_run(folder / f"{number}-{phase.name}", phase)
        place = {"data_root": f"../../../data/{data}", "store": "sqlite:///x.db", "folder": str(run)}
        (run / "place.json").write_text(json.dumps(place))


def new_curriculum(folder: Path, curriculum: Curriculum) -> None:
    """As it is recorded now: whole, before any phase begins."""
    members = {"prepare": values_of(curriculum.located), "phases": [values_of(phase) for phase in curriculum.phases]}
    write(folder / CURRICULUM_FILE, {"digest": "0a1b2c3d" * 8, **members})


def test_the_record_of_another_curriculum_is_never_replaced(curriculum: Curriculum, tmp_path: Path) -> None:
    path = tmp_path / "0001" / CURRICULUM_FILE
    new_curriculum(path.parent, curriculum)
    record_curriculum(curriculum, path)
    assert CURRICULUM.read(path).digest == "0a1b2c3d" * 8, "it stays"
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="0001 was started with another curriculum; continue it unchanged, or"):
        record_curriculum(changed(curriculum, located=replace(curriculum.located, fit_clips=95)), path)
    assert path.read_bytes() == before


def changed(curriculum: Curriculum, **changes: Any) -> Curriculum:
    copy = replace(curriculum, **changes)
    return replace(copy, digest=digest_of(copy.located, copy.phases))


@pytest.mark.parametrize("record", [old_curriculum, new_curriculum])
def test_a_curriculum_is_found_by_its_members(curriculum: Curriculum, tmp_path: Path, record: Any) -> None:
    name = curriculum.recipe.name
    old = tmp_path / f"{name}-0a1b2c3d" / "0001"
    record(old, curriculum)
    assert curriculum_of(tmp_path, curriculum, new=False) == old
    check_curriculum_of(old, curriculum)
    for other in (
        changed(curriculum, phases=tuple(replace(phase, seed=9) for phase in curriculum.phases)),
        changed(curriculum, located=replace(curriculum.located, fit_clips=95)),
    ):
        assert curriculum_of(tmp_path, other, new=False) == tmp_path / f"{name}-{other.digest[:8]}" / "0001"
        with pytest.raises(CheckpointError, match="the recipe has changed since"):
            check_curriculum_of(old, other)
