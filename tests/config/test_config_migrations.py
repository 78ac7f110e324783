"""Recorded recipes of older schemas are migrated to the newest one, and hashes of schema 1 are reproduced."""

import json
from pathlib import Path
from typing import Any

import pytest
from defaults import FILE, defaults

from talkies.config import RecipeError
from talkies.config.canonical import NOT_HASHED, recipe_hash, to_dict
from talkies.config.migrations import NEWEST, hash_of, migrated
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import decode_phase_values

OLD = json.loads((Path(__file__).parent / "recipe_of_1.json").read_text())
"""The record of a run of commit ba90cf5."""


def renamed(values: dict[str, Any]) -> dict[str, Any]:
    return {"b" if key == "a" else key: value for key, value in values.items()}


def with_the_old_default(values: dict[str, Any]) -> dict[str, Any]:
    return {"c": 1, **values}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"a": 5}, {"b": 5, "c": 1}),
        ({"schema": 1, "a": 5}, {"b": 5, "c": 1}),
        ({"schema": 2, "b": 5}, {"b": 5, "c": 1}),
        ({"schema": 2, "b": 5, "c": 2}, {"b": 5, "c": 2}),
        ({"schema": 3, "a": 5}, {"a": 5}),
    ],
)
def test_all_later_migrations_are_applied(values: dict[str, Any], expected: dict[str, Any]) -> None:
    before = json.dumps(values)
    assert migrated(values, (renamed, with_the_old_default)) == expected
    assert json.dumps(values) == before


def test_values_that_a_migration_does_not_expect_are_refused() -> None:
    for values in ({"a": 5}, {"steps": 5}):
        with pytest.raises(RecipeError, match=r"^recipe: it has not the form of schema 2: "):
            migrated({"schema": 2, **values}, (renamed, lambda values: {"b": values["steps"]["max"]}))


@pytest.mark.parametrize("schema", [0, NEWEST + 1, "2", None, True, 2.0])
def test_an_unknown_schema_is_refused(schema: object) -> None:
    with pytest.raises(RecipeError, match=rf"`schema` is .*; this version reads 1 to {NEWEST}$"):
        migrated({"schema": schema})


def test_a_recorded_recipe_of_schema_1_is_read_and_its_hash_is_known() -> None:
    recipe = decode_phase_values(migrated(OLD["recipe"]), SYSTEMS, where="test")
    assert hash_of(OLD["recipe"], NOT_HASHED) == OLD["recipe_hash"] != recipe_hash(recipe)
    found = json.loads(json.dumps(to_dict(recipe)))
    assert found["model"].pop("sizes") is found["tracking"].pop("voices") is None  # added later
    moved = {"phase", "parents", "flow", "sampling", "compute", "slurm", "survival"}
    assert {key: found[key] for key in OLD["recipe"].keys() - moved} == {
        key: value for key, value in OLD["recipe"].items() if key not in moved
    }
    assert decode_phase_values(migrated({"schema": 2, **OLD["recipe"]}), SYSTEMS, where="test") == recipe


def test_no_default_has_changed_within_a_schema() -> None:
    """A changed default needs a new schema, whose migration writes the old default. A new key needs none: add it to the
    file by `python tests/config/defaults.py`."""
    known, now = json.loads(FILE.read_text()), defaults()
    assert FILE.stem == f"defaults_{NEWEST}"
    changed = {
        f"{name}.{key}": (value, now.get(name, {}).get(key))
        for name, keys in known.items()
        for key, value in keys.items()
        if now.get(name, {}).get(key) != value
    }
    assert not changed, "(then, now)"
    assert known == now, "keys that the file lacks"
