"""The data of a recipe: prepared once per hash, shared by every run that needs it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from talkies.config import DataError, RecipeError
from talkies.prepare.config import PrepareConfig
from talkies.prepare.pipeline import Report, prepare, prepare_sets
from talkies.recipe.config import Systems
from talkies.runs.data_in_use import used_by_runs
from talkies.runs.folders import locked
from talkies.runs.lookup import data_of, record_data

OTHER_RUNS = "or choose another --runs"


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """The choices of the command line: the runs folder, the tracking store, how models:/ is resolved, progress bars;
    and the systems that the program knows."""

    runs: Path
    store: str
    artifacts: Path | None
    registry: Callable[[str], Path]
    bar: bool
    systems: Systems


def codecs_folder(config: PrepareConfig, context: RunContext, recipe_folder: Path) -> Path | None:
    """The folder of the codecs that `codecs_from` names; None without it.

    Raises DataError if it has no codecs, TrackingError if a version is not registered.
    """
    spec = config.codecs_from
    if spec is None:
        return None
    source = context.registry(spec) if spec.startswith("models:/") else recipe_folder / Path(spec).expanduser()
    for folder in (source / "codecs", source / "release" / "codecs"):
        if folder.is_dir():
            return folder
    raise DataError(
        f"prepare: `codecs_from`: no codecs in {source} (looked for codecs/ and release/codecs/): give a finished run, "
        "a release, a data root, or models:/name@alias"
    )


def prepare_data(config: PrepareConfig, context: RunContext, *, recipe_folder: Path) -> tuple[Path, Report]:
    """Prepare or reuse the data of a recipe; returns its data root and the report."""
    root = data_of(context.runs, config, recipe_folder=recipe_folder)
    codecs = codecs_folder(config, context, recipe_folder)
    with locked(root, hint=OTHER_RUNS):
        return root, prepare(
            config,
            root,
            systems=context.systems,
            recipe_folder=recipe_folder,
            codecs=codecs,
            progress=context.bar,
            in_use=used_by_runs(context.runs, root, context.systems),
            before_writing=partial(record_data, root, config, recipe_folder=recipe_folder),
        )


def prepare_part(config: PrepareConfig, context: RunContext, *, recipe_folder: Path, number: int | None) -> Path:
    """Make one job's part of the data: shard set `number`, or, if None, what all sets share (rendered sources and
    codecs). `prepare_data` reuses all parts. Two jobs may make different sets at once.

    Raises RecipeError if there is no set of that number.
    """
    names = list(config.sets)
    if number is not None and not 0 <= number < len(names):
        raise RecipeError(f"prepare: there is no set {number}: the recipe has {len(names)}, 0 to {len(names) - 1}")
    root = data_of(context.runs, config, recipe_folder=recipe_folder)
    codecs = codecs_folder(config, context, recipe_folder)
    chosen = [] if number is None else [names[number]]
    with ExitStack() as locks:
        locks.enter_context(locked(root, hint=OTHER_RUNS, shared=bool(chosen)))
        for name in chosen:
            locks.enter_context(locked(root / "parts" / name, hint=OTHER_RUNS))
        record = partial(record_data, root, config, recipe_folder=recipe_folder)
        prepare_sets(
            config,
            root,
            systems=context.systems,
            recipe_folder=recipe_folder,
            codecs=codecs,
            progress=context.bar,
            names=chosen,
            in_use=used_by_runs(context.runs, root, context.systems),
            before_writing=None if chosen else record,
        )
    return root
