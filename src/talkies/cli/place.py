"""Where a command works: the runs folder, the tracking store, the registry."""

import argparse
import os
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkies.config.places import SQLITE, absolute_uri
from talkies.config.regular import resolved

if TYPE_CHECKING:
    from talkies.recipe.config import PhaseRecipe
    from talkies.runs.place import Place

RUNS = Path("runs")
"""The default of --runs; that very object says that the option was not given."""
SEEDS = 2**63


def add_runs(parser: argparse.ArgumentParser) -> None:
    """The --runs option that every verb shares."""
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of runs and prepared data (runs)")


def add_store(parser: argparse.ArgumentParser) -> None:
    """--tracking-uri beside --runs, of the verbs that look something up or add to a run."""
    add_runs(parser)
    parser.add_argument(
        "--tracking-uri", type=store_uri, help="tracking store and registry (the run's own, else that of --runs)"
    )


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
        raise argparse.ArgumentTypeError(f"{text:.40} is none: give an integer from 0 to {SEEDS - 1}")
    return int(text)


def named_store(runs: Path, uri: str | None) -> tuple[str, Path | None]:
    """The tracking URI and, for SQLite, where artifacts go: `uri`, else the store of `runs`. Makes nothing."""
    root = resolved(runs)
    store = absolute_uri(uri) if uri else f"{SQLITE}{root / 'mlflow.db'}"
    return store, root / "artifacts" if store.startswith("sqlite:") else None


def store_of(runs: Path, uri: str | None) -> tuple[str, Path | None]:
    """As `named_store`, for a command that writes: the folder of the runs is made."""
    root = str(resolved(runs))
    if os.fsencode(root).decode(errors="ignore") != root:
        from talkies.config import RecipeError
        from talkies.config.shown import shown

        raise RecipeError(
            f"runs: the path of the runs folder, {shown(root)}, is not UTF-8, and no tracking store can name it: give "
            "another folder (--runs)"
        )
    if uri is None:
        resolved(runs).mkdir(parents=True, exist_ok=True)
    return named_store(runs, uri)


def tracked_at(run: Path, recipe: "PhaseRecipe", *, runs: Path, uri: str | None) -> "Place":
    """Where `run` works and is tracked: in the store `uri`, else in its own.

    RecipeError where --runs was given and means another store: nobody says which of the two is right.
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
            f"({store}); drop --runs, or say which with --tracking-uri"
        )
    return place


def where_to_look(run: Path, store: str) -> list[str]:
    """Lines that say how MLflow shows a run: the command that serves a database, and the page. The page is known once
    the run was sent."""
    from talkies.config.secrets import masked
    from talkies.tracking.identity import DATABASES, page, read_identity

    identity = read_identity(run)
    address = None if identity is None else page(identity)
    shown = masked(store)
    served = [f"mlflow ui --backend-store-uri {shlex.quote(shown)}"] if store.startswith(DATABASES) else []
    return [*served, *([address] if address else [])] or [shown]


def registry_of(runs: Path, uri: str | None, *, source: str | None = None) -> Callable[[str], Path]:
    """What turns models:/name@alias into a verified release folder. `source`: a run (or something of one), in whose
    own store its parents are looked up where neither --runs nor --tracking-uri says another."""

    def resolve_spec(spec: str) -> Path:
        from talkies.runs.place import place_of
        from talkies.tracking.registry import resolve

        run = None if source is None or uri is not None or runs is not RUNS else _run_of(Path(source))
        store, artifacts = named_store(runs, uri) if run is None else (place_of(run).store, place_of(run).artifacts)
        folder = artifacts.parent if artifacts is not None else resolved(runs)
        return resolve(spec, uri=store, download_to=folder / "downloads")

    return resolve_spec


def lookups(runs: Path, uri: str | None, *, source: str) -> dict[str, Any]:
    """How an evaluation or a promotion of `source` finds versions (`registry`), and where runs are tracked
    (`tracked`)."""
    return {"registry": registry_of(runs, uri, source=source), "tracked": partial(tracked_at, runs=runs, uri=uri)}


def _run_of(source: Path) -> Path | None:
    """The run folder that a run, its release or one of its checkpoints belongs to."""
    from talkies.config.records import present

    return next((path for path in (source, *resolved(source).parents[:2]) if present(path / "place.json")), None)
