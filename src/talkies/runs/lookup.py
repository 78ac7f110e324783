"""Where the runs and the data of a recipe lie: RUNS/NAME-HASH, named by what the recipe hashed to when it was new.

A later schema hashes it otherwise. So where no folder has the hash of today, those of the same name are looked through
for one whose recorded recipe, in the newest form, is this one. Nothing is renamed.
"""

import glob
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from talkies.config import CheckpointError, UserError
from talkies.config.canonical import identifying, recipe_hash
from talkies.config.migrations import hash_of
from talkies.config.regular import present, resolved
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
    """The newest run of a recipe, or with `new` (or if there is none) the next number, not yet made."""
    return run_in(_home(runs, recipe.name, recipe_hash(recipe), _has_run(recipe), new=new), new=new)


def curriculum_of(runs: Path, curriculum: Curriculum, *, new: bool) -> Path:
    """As `run_of`, of a curriculum."""
    return run_in(_home(runs, curriculum.recipe.name, curriculum.digest, _has_curriculum(curriculum), new=new), new=new)


def check_run_of(folder: Path, recipe: PhaseRecipe) -> None:
    """CheckpointError where `folder` is not one that `run_of` gives: the recipe has been changed since it was named."""
    _check(folder, recipe.name, recipe_hash(recipe), _has_run(recipe))


def check_curriculum_of(folder: Path, curriculum: Curriculum) -> None:
    """As `check_run_of`, of a curriculum."""
    _check(folder, curriculum.recipe.name, curriculum.digest, _has_curriculum(curriculum))


def data_of(runs: Path, config: PrepareConfig, *, recipe_folder: Path) -> Path:
    """Where a preparation's result lives: RUNS/data/NAME-HASH, shared by every run that needs it.

    The hash is that of what the recipe's paths lead to. Raises RecipeError as preparing does.
    """
    homes = _data_homes(runs, located(config, recipe_folder, present=True))
    return next((home for home in homes if home.is_dir()), homes[0])


def _data_homes(runs: Path, config: PrepareConfig) -> list[Path]:
    """What the folder of the data of a `located` preparation is called, and what schema 1 called it."""
    digests = recipe_hash(config), hash_of(identifying(config))
    return [runs / "data" / f"{config.name}-{digest[:8]}" for digest in digests]


def _home(runs: Path, name: str, digest: str, has: Callable[[Path], bool], *, new: bool) -> Path:
    """The folder of all runs of a recipe. CheckpointError where several of an older version may be meant."""
    own = runs / f"{name}-{digest[:8]}"
    if own.is_dir():
        return own
    others = [path for path in sorted(runs.glob(f"{glob.escape(name)}-{'[0-9a-f]' * 8}")) if path.is_dir()]
    found = [path for path in others if has(path)]
    if len(found) > 1 and not new:
        raise CheckpointError(
            f"train: {', '.join(map(str, found))} were all begun with this recipe by older versions of talkies: choose "
            "one by --folder, or begin another run with --new"
        )
    return found[0] if len(found) == 1 else own


def _check(folder: Path, name: str, digest: str, has: Callable[[Path], bool]) -> None:
    home = resolved(folder).parent
    if home.name != f"{name}-{digest[:8]}" and not has(home):
        raise CheckpointError(
            f"train: {folder} is no run of this recipe, whose runs are called {name}-{digest[:8]}: it has been changed "
            "since; submit it again"
        )


def _has_run(recipe: PhaseRecipe) -> Callable[[Path], bool]:
    """Whether the runs in a folder are those of `recipe`. One whose record is damaged is told and passed over."""

    def has(home: Path) -> bool:
        return any(_readable(same_recipe, run, recipe) for run in numbered(home) if present(run / FILE))

    return has


def _has_curriculum(curriculum: Curriculum) -> Callable[[Path], bool]:
    def has(home: Path) -> bool:
        return any(_readable(_same_curriculum, run, curriculum) for run in numbered(home))

    return has


def _same_curriculum(run: Path, curriculum: Curriculum) -> bool:
    """By the recipes of its members; before schema 2 those of the phases alone were recorded that were begun, and where
    their data lie."""
    path = run / CURRICULUM_FILE
    known = CURRICULUM.find(path)
    if known is None:
        return False
    if known.prepare is not None:
        phases = [recipe_of(values, path) for values in known.phases]
        return digest_of(read_as(PrepareConfig, known.prepare, path), phases) == curriculum.digest
    begun = {run / f"{number}-{phase.name}": phase for number, phase in enumerate(curriculum.phases, 1)}
    begun = {folder: phase for folder, phase in begun.items() if present(folder / FILE)}
    homes = {home.name for home in _data_homes(Path(), curriculum.located)}
    data = (place_of(folder).data_root.name in homes for folder in begun)
    return bool(begun) and all(data) and all(same_recipe(folder, phase) for folder, phase in begun.items())


def _readable(same: Callable[[Path, Any], bool], run: Path, recipe: Any) -> bool:
    try:
        return same(run, recipe)
    except UserError as error:
        _log.warning("train: passed over while looking for an older run of this recipe: %s", error)
        return False
