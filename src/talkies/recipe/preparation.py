"""The data of a recipe: prepared once per hash, shared by every run that needs it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from talkies.config.canonical import recipe_hash
from talkies.prepare.config import PrepareConfig
from talkies.prepare.paths import located
from talkies.prepare.pipeline import Report, prepare
from talkies.recipe.folders import locked


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What the command line decides: the runs folder, the tracking store, how models:/ is resolved, progress bars."""

    runs: Path
    store: str
    artifacts: Path | None
    registry: Callable[[str], Path]
    bar: bool


def data_folder(runs: Path, config: PrepareConfig, *, recipe_folder: Path) -> Path:
    """Where a preparation's result lives: RUNS/data/<name>-<hash>, shared by every run that needs it.

    The hash is that of what the recipe's paths lead to. Raises RecipeError as preparing does.
    """
    values = located(config, recipe_folder, present=True)
    return runs / "data" / f"{config.name}-{recipe_hash(values)[:8]}"


def prepare_data(config: PrepareConfig, workshop: Workshop, *, recipe_folder: Path) -> tuple[Path, Report]:
    """Prepare (or reuse) the data of a recipe."""
    root = data_folder(workshop.runs, config, recipe_folder=recipe_folder)
    with locked(root, hint="or choose another --runs"):
        return root, prepare(config, root, recipe_folder=recipe_folder, progress=workshop.bar)
