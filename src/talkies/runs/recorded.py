"""Recipes as runs and releases have recorded them: of an older schema, too, they are read in the newest form.

A recorded recipe holds all its values and its schema. `recipe_hash` beside it names the run for good: it is what was
hashed when the run began, and may be of an older schema; what the recipe hashes to now is `recipe_hash(recipe)`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from talkies.checkpoints.places import recorded_weights
from talkies.config import CheckpointError, RecipeError
from talkies.config.canonical import NOT_HASHED, decisive, recipe_hash, to_dict
from talkies.config.decode import decode_values
from talkies.config.migrations import FIRST, NEWEST, SCHEMA, hash_of, migrated
from talkies.config.shown import named
from talkies.prepare.config import PrepareConfig
from talkies.recipe.config import PhaseRecipe
from talkies.runs.records import RECIPE, RecipeRecord

T = TypeVar("T")
FILE = "recipe.json"
UNTRACKED = "released"
"""The experiment of a recipe that has none."""


def values_of(recipe: PhaseRecipe | PrepareConfig) -> dict[str, Any]:
    """What recipe.json, or curriculum.json, says of a recipe."""
    return {SCHEMA: NEWEST, **to_dict(recipe)}


def released_values(recipe: PhaseRecipe) -> dict[str, Any]:
    """What release.json says of a recipe: neither how its run was tracked, nor what it ran on."""
    return {SCHEMA: NEWEST, **decisive(recipe)}


def check_sum(values: Mapping[str, Any]) -> str:
    """By which recipe.json vouches for what its recipe's hash covers."""
    return hash_of(values, NOT_HASHED)


def recipe_of(values: Mapping[str, Any], where: Path) -> PhaseRecipe:
    """The PhaseRecipe that a run or a release was made with, in the newest form. CheckpointError where the record
    `where` holds none that this version reads."""
    return read_as(PhaseRecipe, values, where)


def read_as(target: type[T], values: Mapping[str, Any], where: Path) -> T:
    """The same for any kind of recipe."""
    try:
        return decode_values(target, migrated(values), where=str(where))
    except RecipeError as error:
        told = " ".join(str(error).split())
        raise CheckpointError(
            f"run: {where} is damaged, or of another version of talkies: {told}; restore it from a copy, or use that "
            "version"
        ) from None


def recipe_of_release(folder: Path, info: Mapping[str, Any]) -> PhaseRecipe:
    """The PhaseRecipe in a release.json. A release says neither how its run was tracked nor where the weights of
    pretrained codecs were; the latter stand beside it."""
    values = {"tracking": {"experiment": UNTRACKED}, **info["recipe"]}
    for part, path in recorded_weights(folder).items():
        values["codecs"] = {**values["codecs"], part: {**values["codecs"][part], "weights": path}}
    return recipe_of(values, folder / "release.json")


def recipe_of_run(run: Path) -> PhaseRecipe:
    """The PhaseRecipe in the recipe.json of a run. CheckpointError where it is another than the run was begun with."""
    path = run / FILE
    return recipe_in(RECIPE.read(path), path)


def recipe_in(known: RecipeRecord, path: Path) -> PhaseRecipe:
    """As `recipe_of_run`, of the record that was read from `path`."""
    recipe = recipe_of(known.recipe, path)
    first = known.recipe.get(SCHEMA, FIRST) == FIRST
    found = check_sum(known.recipe)
    key, told = ("recipe_hash", known.recipe_hash) if first else ("sha256", known.sha256)
    if found != told:
        raise RECIPE.damaged(
            path, f"its `recipe` has the hash {found[:12]}, and its `{key}` is {named(str(told)[:12])}"
        )
    return recipe


def name_of_run(run: Path) -> str:
    """The `recipe_hash` by which a run, its checkpoints and its releases are known."""
    return RECIPE.read(run / FILE).recipe_hash


def same_recipe(run: Path, recipe: PhaseRecipe) -> bool:
    """Whether the run in a folder was begun with `recipe`, under whatever hash. Raises as `recipe_of_run`."""
    return recipe_hash(recipe_of_run(run)) == recipe_hash(recipe)
