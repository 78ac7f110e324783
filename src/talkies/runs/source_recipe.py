"""The recipe of a run, a release or models:/name@alias, without its weights."""

from collections.abc import Callable, Sequence
from pathlib import Path

from talkies.checkpoints.release import read_release
from talkies.config import RecipeError
from talkies.config.records import present
from talkies.recipe.config import PhaseRecipe, Systems
from talkies.runs.located import checkpoint_of, refuse_download, refuse_many, refuse_releases
from talkies.runs.recorded import recipe_of_release, recipe_of_run
from talkies.runs.source import lacking


def recipe_in(path: Path, systems: Systems, *, what: str) -> tuple[PhaseRecipe, Sequence[str]]:
    """The recipe of a run or a release, and the codecs that it lacks. RecipeError, which begins with `what`, for
    another folder, CheckpointError for a damaged one, a download, or a folder of runs."""
    if present(path / "release.json"):
        info = read_release(path, verify=False)
        recipe = recipe_of_release(path, info, systems)
        return recipe, () if info.get("imported") is None else lacking(recipe)
    if not present(path / "recipe.json"):
        refuse_download(what, path, systems)
        refuse_many(what, path)
        refuse_releases(what, path)
        raise RecipeError(f"{what}: {path} is neither a run nor a release: no recipe.json, no release.json")
    return recipe_of_run(path, systems), ()


def recipe_of_source(spec: str, registry: Callable[[str], Path], systems: Systems, *, what: str) -> PhaseRecipe:
    """That of anything that `open_source` opens; errors as of `recipe_in`."""
    if spec.startswith("models:/"):
        return recipe_in(registry(spec), systems, what=what)[0]
    path = Path(spec)
    if not path.is_dir():
        raise RecipeError(f"{what}: {spec} is not a folder; give a run, a checkpoint, a release or models:/name@alias")
    if present(path / "manifest.json"):
        path = checkpoint_of(path)[1]
    return recipe_in(path, systems, what=what)[0]
