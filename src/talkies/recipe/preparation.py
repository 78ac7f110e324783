"""The data of a recipe: prepared once per hash, shared by every run that needs it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from talkies.config.canonical import recipe_hash, to_dict
from talkies.prepare.config import PrepareConfig
from talkies.prepare.pipeline import Report, prepare
from talkies.prepare.sources import source_path
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

    Paths in the recipe count as what they lead to from `recipe_folder`: two recipes with `./clips` beside them share
    nothing, and two that name the same clips in their own words share all. Raises RecipeError as preparing does.
    """
    values = to_dict(config)
    for name, section in config.sources.items():
        if section.kind != "synthetic":
            values["sources"][name]["path"] = str(source_path(name, section, recipe_folder).resolve())
    return runs / "data" / f"{config.name}-{recipe_hash(values)[:8]}"


def prepare_data(config: PrepareConfig, workshop: Workshop, *, recipe_folder: Path) -> tuple[Path, Report]:
    """Prepare (or reuse) the data of a recipe."""
    root = data_folder(workshop.runs, config, recipe_folder=recipe_folder)
    with locked(root, hint="or choose another --runs"):
        return root, prepare(config, root, recipe_folder=recipe_folder, progress=workshop.bar)
