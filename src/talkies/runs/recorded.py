"""Recipes as runs and releases record them. Recipes of an older schema are read in the newest form.

A recorded recipe holds all its values and its schema. The `recipe_hash` recorded beside it names the run for good: it
was computed when the run began, perhaps in an older schema. The hash in today's schema is `recipe_hash(recipe)`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from talkies.checkpoints.places import recorded_weights
from talkies.config import CheckpointError, RecipeError
from talkies.config.canonical import decisive, recipe_hash, to_dict
from talkies.config.decode import decode_values
from talkies.config.migrations import FIRST, NEWEST, SCHEMA, hash_of, migrated
from talkies.config.quoting import named
from talkies.prepare.config import PrepareConfig
from talkies.recipe.config import PhaseRecipe, Systems, decode_phase_values
from talkies.runs.records import RECIPE, RecipeRecord

T = TypeVar("T")
FILE = "recipe.json"
BESIDE = ("tracking", "parallel", "compute", "slurm", "survival")
UNCHECKED = (*((name,) for name in BESIDE), ("data", "root"), ("data", "workers"))
"""What checksums do not cover: the keys that schemas 1 and 2 did not hash, by their names then. This never changes,
because a checksum is of the values as they were recorded, whatever their keys are called now."""
UNTRACKED = "released"
"""The experiment of a recipe read from a release, which records none."""

UNTRAINED: dict[str, Any] = {
    "tracking": {"experiment": UNTRACKED},
    "optimizer": {"lr": {}},
    "steps": {"max": 1, "global_batch": 1, "checkpoint_every": 1},
    "validation": {"every": 1},
    "data": {"shards": "imported", "heldout": "imported"},
}
"""What a recipe says that was not trained here, for the keys that only training reads."""


def values_of(recipe: PhaseRecipe | PrepareConfig) -> dict[str, Any]:
    """A recipe as recipe.json and curriculum.json record it."""
    return {SCHEMA: NEWEST, **to_dict(recipe)}


def released_values(recipe: PhaseRecipe) -> dict[str, Any]:
    """A recipe as release.json records it: without how its run was tracked and what it ran on."""
    return {SCHEMA: NEWEST, **decisive(recipe)}


def check_sum(values: Mapping[str, Any]) -> str:
    """The checksum in recipe.json of recorded values, without those that are UNCHECKED."""
    return hash_of(values, UNCHECKED)


def recipe_of(values: Mapping[str, Any], where: Path, systems: Systems) -> PhaseRecipe:
    """The PhaseRecipe, of one of `systems`, that a run or a release was made with, in the newest form. CheckpointError
    if this version cannot read the one in the record `where`."""
    with _reading(where):
        return decode_phase_values(migrated(values), systems, where=str(where))


def read_as(target: type[T], values: Mapping[str, Any], where: Path) -> T:
    """As `recipe_of`, for recipes that are the same for all systems."""
    with _reading(where):
        return decode_values(target, migrated(values), where=str(where))


@contextmanager
def _reading(where: Path) -> Iterator[None]:
    try:
        yield
    except RecipeError as error:
        message = " ".join(str(error).split())
        raise CheckpointError(
            f"run: {where} is damaged, or of another version of talkies: {message}; restore it from a copy, or use "
            "that version"
        ) from None


def recipe_of_release(folder: Path, info: Mapping[str, Any], systems: Systems) -> PhaseRecipe:
    """The PhaseRecipe in a release.json, which leaves out how the run was tracked and the paths of pretrained codecs'
    weights. The paths are recorded in a file beside it; those of an imported release are in it."""
    where = folder / "release.json"
    with _reading(where):
        values = {"tracking": {"experiment": UNTRACKED}, **migrated(info["recipe"])}
        values = values if info.get("imported") is None else as_trained(values)
    # Only an import holds pretrained codecs; another release has the fitted part of some in their place.
    own = {} if info.get("imported") is None else _own_codecs(folder, values["codecs"])
    for part, path in {**recorded_weights(folder), **own}.items():
        values["codecs"] = {**values["codecs"], part: {**values["codecs"][part], "weights": path}}
    return recipe_of({SCHEMA: NEWEST, **values}, where, systems)


def as_trained(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an imported release's recipe, with fixed ones for the keys that only training reads."""
    return {**values, **UNTRAINED, "data": {**UNTRAINED["data"], **values["data"]}}


def _own_codecs(folder: Path, codecs: Mapping[str, Any]) -> dict[str, str]:
    """Part -> the folder of a pretrained codec that an imported release holds."""
    held = {part: folder / "codecs" / part for part, section in codecs.items() if "weights" in section}
    return {part: str(path) for part, path in held.items() if path.is_dir()}


def recipe_of_run(run: Path, systems: Systems) -> PhaseRecipe:
    """The PhaseRecipe in the recipe.json of a run. CheckpointError if it is not the one that the run started with."""
    path = run / FILE
    return recipe_in(RECIPE.read(path), path, systems)


def recipe_in(known: RecipeRecord, path: Path, systems: Systems) -> PhaseRecipe:
    """As `recipe_of_run`, for the record that was read from `path`."""
    recipe = recipe_of(known.recipe, path, systems)
    first = known.recipe.get(SCHEMA, FIRST) == FIRST
    found = check_sum(known.recipe)
    key, recorded = ("recipe_hash", known.recipe_hash) if first else ("sha256", known.sha256)
    if found != recorded:
        raise RECIPE.damaged(
            path, f"its `recipe` has the hash {found[:12]}, and its `{key}` is {named(str(recorded)[:12])}"
        )
    return recipe


def name_of_run(run: Path) -> str:
    """The recorded `recipe_hash`, which identifies a run, its checkpoints and its releases."""
    return RECIPE.read(run / FILE).recipe_hash


def same_recipe(run: Path, recipe: PhaseRecipe) -> bool:
    """Whether the run in a folder was started with `recipe`, whatever hash it recorded. Raises as `recipe_of_run`."""
    return recipe_hash(recipe_of_run(run, (recipe.system,))) == recipe_hash(recipe)
