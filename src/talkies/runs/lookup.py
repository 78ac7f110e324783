"""The folders of a recipe's runs and data: RUNS/NAME-HASH, with the hash of the recipe when the folder was made.

A later schema gives the same recipe another hash. So if no folder has today's hash, the folders of the same name are
searched for one whose recorded recipe, in the newest form, is this one. Nothing is renamed. Data folders have recorded
their recipe since schema 2; older ones are known by the names that schemas 1 and 2 gave.
"""

import glob
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from talkies.config import CheckpointError, DataError, UserError
from talkies.config.canonical import older_hashes, recipe_hash
from talkies.config.regular_files import present, resolved
from talkies.files.durable import write_json
from talkies.prepare.config import PrepareConfig
from talkies.prepare.paths import located
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.curriculum import Curriculum, digest_of
from talkies.runs.folders import numbered, run_in
from talkies.runs.place import place_of
from talkies.runs.recorded import FILE, read_as, recipe_of, same_recipe, values_of
from talkies.runs.records import CURRICULUM, DATA

CURRICULUM_FILE, DATA_FILE = "curriculum.json", "prepare.json"
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
    """The folder of a preparation's result: RUNS/data/NAME-HASH, shared by every run that needs it. Of several that
    older versions made, the first.

    The hash covers the resolved paths of the recipe. Raises the RecipeErrors of a preparation, and DataError if the
    folder holds the data of another recipe.
    """
    config = located(config, recipe_folder, present=True)
    named = [runs / "data" / name for name in _data_names(config)]
    others = [path for path in _folders(runs / "data", config.name) if path not in named and present(path / DATA_FILE)]
    found = [home for home in (*named, *others) if home.is_dir() and _readable(_may_hold, home, config)]
    if not found and named[0].is_dir():
        raise DataError(
            f"prepare: {named[0]} holds the data of another recipe, or a damaged {DATA_FILE}: choose another --runs or "
            "another `name`"
        )
    return [*found, named[0]][0]


def record_data(root: Path, config: PrepareConfig, *, recipe_folder: Path) -> None:
    """Record in a data root which preparation it is of, so that later versions find it."""
    path, values = root / DATA_FILE, values_of(located(config, recipe_folder, present=True))
    if not present(path) or DATA.read(path).recipe != values:
        write_json(path, {"recipe": values})


def _data_names(config: PrepareConfig) -> list[str]:
    """The names of the data folder of a `located` preparation: the present one, and those that schemas 1 and 2 gave."""
    digests = dict.fromkeys((recipe_hash(config), *older_hashes(config)))
    return [f"{config.name}-{digest[:8]}" for digest in digests]


def _is_data_of(root: Path, config: PrepareConfig) -> bool:
    """Whether a run's data root, which may be elsewhere or gone, is of this `located` preparation."""
    known = present(root / DATA_FILE)
    return _may_hold(root, config) if known else root.name in _data_names(config)


def _may_hold(home: Path, config: PrepareConfig) -> bool:
    """Whether a data folder is of this `located` preparation; older versions recorded that in its name only."""
    path = home / DATA_FILE
    known = DATA.find(path)
    return known is None or recipe_hash(read_as(PrepareConfig, known.recipe, path)) == recipe_hash(config)


def _home(runs: Path, name: str, digest: str, has: Callable[[Path], bool], *, new: bool) -> Path:
    """The folder of all runs of a recipe. CheckpointError if several folders of older versions match."""
    home = runs / f"{name}-{digest[:8]}"
    if home.is_dir():
        return home
    found = [path for path in _folders(runs, name) if has(path)]
    if len(found) > 1 and not new:
        raise CheckpointError(
            f"train: {', '.join(map(str, found))} were all started with this recipe by older versions: choose "
            "one by --folder, or start another run with --new"
        )
    return found[0] if len(found) == 1 else home


def _folders(runs: Path, name: str) -> list[Path]:
    """The folders of all recipes of one name."""
    return [path for path in sorted(runs.glob(f"{glob.escape(name)}-{'[0-9a-f]' * 8}")) if path.is_dir()]


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
        return any(_readable(same_curriculum, run, curriculum) for run in numbered(home))

    return has


def same_curriculum(run: Path, curriculum: Curriculum) -> bool:
    """Whether a run was started with `curriculum`, by the recorded recipes of its members. Before schema 2 only those
    of phases already begun, and the paths of their data, were recorded."""
    path = run / CURRICULUM_FILE
    known = CURRICULUM.find(path)
    if known is None:
        return False
    if known.prepare is not None:
        phases = [recipe_of(values, path, curriculum.systems) for values in known.phases]
        return digest_of(read_as(PrepareConfig, known.prepare, path), phases) == curriculum.digest
    started = {run / f"{number}-{phase.name}": phase for number, phase in enumerate(curriculum.phases, 1)}
    started = {folder: phase for folder, phase in started.items() if present(folder / FILE)}
    data = (_is_data_of(place_of(folder).data_root, curriculum.located) for folder in started)
    return bool(started) and all(data) and all(same_recipe(folder, phase) for folder, phase in started.items())


def _readable(same: Callable[[Path, Any], bool], folder: Path, recipe: Any) -> bool:
    try:
        return same(folder, recipe)
    except UserError as error:
        _log.warning("skipped in the search for what older versions made of this recipe: %s", error)
        return False
