"""The runs folder, the tracking store and the registry of a command."""

import argparse
import os
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkies.cli.output import local_path
from talkies.config.places import SQLITE, absolute_uri
from talkies.config.quoting import shown
from talkies.config.regular_files import resolved

if TYPE_CHECKING:
    from talkies.recipe.config import PhaseRecipe
    from talkies.runs.place import Place

RUNS = Path("runs")
"""The default of --runs. Identity with this object means that the option was not given."""
SEEDS = 2**63
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add the --runs option that all verbs share."""
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of runs and prepared data (runs)")


def add_store(parser: argparse.ArgumentParser, *, default: str = "the run's own, else that of --runs") -> None:
    """Add --tracking-uri beside --runs, for verbs that use the registry or add to a run."""
    add_runs(parser)
    parser.add_argument("--tracking-uri", type=store_uri, help=f"tracking store and registry ({default})")


def store_uri(text: str) -> str:
    """The value of --tracking-uri; for argparse."""
    from pydantic_core import PydanticCustomError

    from talkies.config.secrets import INSTEAD, credential
    from talkies.tracking.names import valid_store

    if part := credential(text):
        raise argparse.ArgumentTypeError(f"it can carry a credential: {part}; {INSTEAD}")
    try:
        return valid_store(text)
    except PydanticCustomError as error:
        raise argparse.ArgumentTypeError(f"it must be {error.message().removeprefix('Input should be ')}") from None


def seed_of(text: str) -> int:
    """The value of --seed; for argparse."""
    if not text.isdecimal() or int(text) >= SEEDS:
        raise argparse.ArgumentTypeError(f"{text:.40} is not a seed: give an integer from 0 to {SEEDS - 1}")
    return int(text)


def path_of(text: str) -> Path:
    """A path; for argparse. Empty text, which Path takes as the folder here, is refused."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty: give one, or drop the option")
    return Path(text)


def folder_of(text: str) -> Path:
    """A path on this machine; for argparse. Empty text and addresses such as s3://bucket, which Path takes as folders
    here, are refused."""
    path = local_path(text)
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty: give a folder")
    if ADDRESS.match(text):
        raise argparse.ArgumentTypeError(f"{shown(text)} is an address: give a folder on this machine")
    return path


def named_store(runs: Path, uri: str | None) -> tuple[str, Path | None]:
    """The tracking URI (`uri`, else the store of `runs`) and, for SQLite, the folder of artifacts. Makes nothing."""
    root = resolved(runs)
    store = absolute_uri(uri) if uri else f"{SQLITE}{root / 'mlflow.db'}"
    return store, root / "artifacts" if store.startswith("sqlite:") else None


def store_of(runs: Path, uri: str | None) -> tuple[str, Path | None]:
    """As `named_store`, for a command that writes: the runs folder is made."""
    root = str(resolved(runs))
    if os.fsencode(root).decode(errors="ignore") != root:
        from talkies.config import RecipeError
        from talkies.config.quoting import shown

        raise RecipeError(
            f"runs: the path of the runs folder, {shown(root)}, is not UTF-8, so no tracking store can name it: give "
            "another folder (--runs)"
        )
    if uri is None:
        resolved(runs).mkdir(parents=True, exist_ok=True)
    return named_store(runs, uri)


def tracked_at(run: Path, recipe: "PhaseRecipe", *, runs: Path, uri: str | None) -> "Place":
    """Where `run` works and is tracked: in the store `uri`, else in its own.

    Raises RecipeError if --runs was given and means another store, since it is unclear which of the two is right.
    """
    from dataclasses import replace

    from talkies.config import RecipeError
    from talkies.config.secrets import masked
    from talkies.runs.place import place_of

    place = place_of(run)
    store, artifacts = named_store(runs, uri)
    if store == place.store:
        return place
    if uri is not None:
        return replace(place, store=store, artifacts=artifacts)
    if runs is not RUNS and recipe.tracking.uri is None:
        raise RecipeError(
            f"tracking: {run} is tracked at {masked(place.store)}, which is not the store of --runs {runs} "
            f"({store}); drop --runs"
        )
    return place


def where_to_look(run: Path, store: str) -> list[str]:
    """Lines that say how to see a run in MLflow: the command that serves a database, and the page's address, which is
    known once the run was sent."""
    from talkies.config.secrets import masked
    from talkies.tracking.mlflow_run import DATABASES, page, read_mlflow_run

    identity = read_mlflow_run(run)
    address = None if identity is None else page(identity)
    shown = masked(store)
    command = [f"mlflow ui --backend-store-uri {shlex.quote(shown)}"] if store.startswith(DATABASES) else []
    return [*command, *([address] if address else [])] or [shown]


def registry_of(runs: Path, uri: str | None, *, source: str | None = None) -> Callable[[str], Path]:
    """The function that turns models:/name@alias into a verified release folder. `source`: a run, or a release or
    checkpoint of one; without --runs and --tracking-uri, names are looked up in the run's own store."""

    def resolve_spec(spec: str) -> Path:
        from talkies.runs.place import place_of
        from talkies.tracking.registry import resolve

        run = None if source is None or uri is not None or runs is not RUNS else _run_of(Path(source))
        store, artifacts = named_store(runs, uri) if run is None else (place_of(run).store, place_of(run).artifacts)
        folder = artifacts.parent if artifacts is not None else resolved(runs)
        return resolve(spec, uri=store, download_to=folder / "downloads")

    return resolve_spec


def lookups(runs: Path, uri: str | None, *, source: str) -> dict[str, Any]:
    """The arguments of an evaluation or a promotion of `source`: how it finds versions (`registry`), where runs are
    tracked (`tracked`), and the systems of this package."""
    from talkies.models.systems import SYSTEMS

    registry = registry_of(runs, uri, source=source)
    return {"registry": registry, "tracked": partial(tracked_at, runs=runs, uri=uri), "systems": SYSTEMS}


def _run_of(source: Path) -> Path | None:
    """The run folder that a run, its release or one of its checkpoints belongs to."""
    from talkies.config.records import present

    return next((path for path in (source, *resolved(source).parents[:2]) if present(path / "place.json")), None)
