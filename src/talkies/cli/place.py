"""Where a command works: the runs folder, the tracking store, the registry."""

import argparse
from collections.abc import Callable
from pathlib import Path


def add_runs(parser: argparse.ArgumentParser) -> None:
    """The --runs option that every verb shares."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs and prepared data (runs)")


def store_of(runs: Path, uri: str | None) -> tuple[str, Path | None]:
    """The tracking URI and, for the local default, where artifacts go."""
    root = runs.resolve()
    if uri is not None:
        return uri, root / "artifacts" if uri.startswith("sqlite:") else None
    root.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{root / 'mlflow.db'}", root / "artifacts"


def registry_of(runs: Path, uri: str | None) -> Callable[[str], Path]:
    """What turns models:/name@alias into a verified release folder."""

    def resolve_spec(spec: str) -> Path:
        from talkies.tracking.registry import resolve

        store, _ = store_of(runs, uri)
        return resolve(spec, uri=store, download_to=runs.resolve() / "downloads")

    return resolve_spec
