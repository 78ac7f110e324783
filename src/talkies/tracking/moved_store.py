"""A SQLite store that was moved or copied with the artifacts beside it: MLflow has written absolute addresses into it,
which lead to where it was. They are put right when the store is opened, in one transaction, and said so.

Nothing is changed unless this file's own folder holds the artifacts: RUNS/mlflow.db with RUNS/artifacts/EXPERIMENT.
"""

import logging
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from talkies.config.regular import resolved

ARTIFACTS = "artifacts"
WAIT_S = 1.0
_log = logging.getLogger(__name__)


def readdress(database: Path) -> None:
    """Let the experiments and runs of `database` have their artifacts in the folder `artifacts` beside it, where these
    are there and the addresses in it lead elsewhere. A database that is locked or read-only is left as it is, and
    `beside` finds what is read."""
    if not database.is_file():
        return
    database = resolved(database)
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=WAIT_S)) as store:
            old = _elsewhere(store, database)
            if old:
                _rewrite(store, old)
                _log.warning("tracking: %s was moved: it now says that its artifacts are beside it", database)
    except sqlite3.Error as error:
        _log.debug("tracking: %s: %s", database, error)  # MLflow says what is wrong with it


def beside(path: Path, database: Path) -> Path:
    """Where the artifacts are that `database` has at `path`: in the folder beside it, if it was moved with them."""
    folder = resolved(database).parent / ARTIFACTS
    ends = [path.relative_to(parent) for parent in path.parents if parent.name == ARTIFACTS]
    return next((folder / end for end in ends if (folder / end).is_dir()), path)


def _elsewhere(store: sqlite3.Connection, database: Path) -> Mapping[str, str]:
    """Address of an experiment's artifacts -> where they are now."""
    folder = database.parent / ARTIFACTS
    found = {}
    for (address,) in store.execute("SELECT artifact_location FROM experiments WHERE artifact_location IS NOT NULL"):
        path = local_path(address)
        if path is None or path.parent.name != ARTIFACTS or path.parent == folder:
            continue
        here = folder / path.name
        if here.is_dir():
            found[address] = here.as_uri()
    return found


def _rewrite(store: sqlite3.Connection, addresses: Mapping[str, str]) -> None:
    with store:
        store.execute("BEGIN IMMEDIATE")
        for old, new in addresses.items():
            store.execute("UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (new, old))
            store.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE substr(artifact_uri, 1, ?) = ?",
                (new, len(old) + 1, len(old) + 1, f"{old}/"),
            )


def local_path(address: str) -> Path | None:
    """The folder that an address of artifacts means on this machine; None for a server's."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(address) if address.startswith("/") else None
