"""The folders of a recipe's runs and data: RUNS/NAME-HASH, with the hash of the recipe when the folder was made.

A later schema gives the same recipe another hash. So if no folder has today's hash, the folders of the same name are
searched for one whose recorded recipe, in the newest form, is this one. Nothing is renamed.
"""

import glob
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from talkies.config import CheckpointError, UserError
from talkies.config.canonical import identifying, recipe_hash
from talkies.config.migrations import hash_of
from talkies.config.regular_files import present, resolved
from talkies.prepare.config import PrepareConfig
from talkies.prepare.paths import located
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.curriculum import Curriculum, digest_of
from talkies.runs.folders import numbered, run_in
from talkies.runs.place import place_of
from talkies.runs.recorded import FILE, read_as, recipe_of, same_recipe
from talkies.runs.records import CURRICULUM

CURRICULUM_FILE = "curriculum.json"
_log = logging.getLogger(__name__)


def run_of(runs: Path, recipe: PhaseRecipe, *, new: bool) -> Path:
    """The newest run of a recipe, or with `new` (or if there is none) the folder of the next number, not made here."""
    return run_in(_home(runs, recipe.name, recipe_hash(recipe), _has_run(recipe), new=new), new=new)


def curriculum_of(runs: Path, curriculum: Curriculum, *, new: bool) -> Path:
    """As `run_of`, for a curriculum."""
    return run_in(_home(runs, curriculum.recipe.name, curriculum.digest, _has_curriculum(curriculum), new=new), new=new)


def check_run_of(folder: Path, recipe: PhaseRecipe) -> None:
    """CheckpointError if `folder` is not one that `run_of` gives: the recipe has changed since the folder was named."""
    _check(folder, recipe.name, recipe_hash(recipe), _has_run(recipe))


def check_curriculum_of(folder: Path, curriculum: Curriculum) -> None:
    """As `check_run_of`, for a curriculum."""
    _check(folder, curriculum.recipe.name, curriculum.digest, _has_curriculum(curriculum))


def data_of(runs: Path, config: PrepareConfig, *, recipe_folder: Path) -> Path:
    """The folder of a preparation's result: RUNS/data/NAME-HASH, shared by every run that needs it.

    The hash covers the resolved paths of the recipe. Raises the RecipeErrors of a preparation.
    """
    homes = _data_homes(runs, located(config, recipe_folder, present=True))
    return next((home for home in homes if home.is_dir()), homes[0])


def _data_homes(runs: Path, config: PrepareConfig) -> list[Path]:
    """The data folder of a `located` preparation under its present name, and under its name in schema 1."""
    digests = recipe_hash(config), hash_of(identifying(config))
    return [runs / "data" / f"{config.name}-{digest[:8]}" for digest in digests]


def _home(runs: Path, name: str, digest: str, has: Callable[[Path], bool], *, new: bool) -> Path:
    """The folder of all runs of a recipe. CheckpointError if several folders of older versions match."""
    home = runs / f"{name}-{digest[:8]}"
    if home.is_dir():
        return home
    others = [path for path in sorted(runs.glob(f"{glob.escape(name)}-{'[0-9a-f]' * 8}")) if path.is_dir()]
    found = [path for path in others if has(path)]
    if len(found) > 1 and not new:
        raise CheckpointError(
            f"train: {', '.join(map(str, found))} were all started with this recipe by older versions: choose "
            "one by --folder, or start another run with --new"
        )
    return found[0] if len(found) == 1 else home


def _check(folder: Path, name: str, digest: str, has: Callable[[Path], bool]) -> None:
    home = resolved(folder).parent
    if home.name != f"{name}-{digest[:8]}" and not has(home):
        raise CheckpointError(
            f"train: {folder} is not a run of this recipe, whose runs are named {name}-{digest[:8]}: the recipe has "
            "changed since; submit it again"
        )


def _has_run(recipe: PhaseRecipe) -> Callable[[Path], bool]:
    """A test for whether the runs in a folder are of `recipe`. Runs with damaged records are skipped with a warning."""

    def has(home: Path) -> bool:
        return any(_readable(same_recipe, run, recipe) for run in numbered(home) if present(run / FILE))

    return has


def _has_curriculum(curriculum: Curriculum) -> Callable[[Path], bool]:
    def has(home: Path) -> bool:
        return any(_readable(_same_curriculum, run, curriculum) for run in numbered(home))

    return has


def _same_curriculum(run: Path, curriculum: Curriculum) -> bool:
    """Compare the recorded recipes of the members. Before schema 2 only the recipes of phases already begun and the
    paths of their data were recorded."""
    path = run / CURRICULUM_FILE
    known = CURRICULUM.find(path)
    if known is None:
        return False
    if known.prepare is not None:
        phases = [recipe_of(values, path, curriculum.systems) for values in known.phases]
        return digest_of(read_as(PrepareConfig, known.prepare, path), phases) == curriculum.digest
    started = {run / f"{number}-{phase.name}": phase for number, phase in enumerate(curriculum.phases, 1)}
    started = {folder: phase for folder, phase in started.items() if present(folder / FILE)}
    homes = {home.name for home in _data_homes(Path(), curriculum.located)}
    data = (place_of(folder).data_root.name in homes for folder in started)
    return bool(started) and all(data) and all(same_recipe(folder, phase) for folder, phase in started.items())


def _readable(same: Callable[[Path, Any], bool], run: Path, recipe: Any) -> bool:
    try:
        return same(run, recipe)
    except UserError as error:
        _log.warning("train: skipped in the search for an older run of this recipe: %s", error)
        return False
