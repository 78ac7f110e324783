"""A SQLite store that was moved or copied with the artifacts beside it. MLflow stores absolute addresses, which lead to
the old place. They are corrected when the store is opened, in one transaction, with a warning.

Nothing is changed unless the store's own folder holds the artifacts: RUNS/mlflow.db with RUNS/artifacts/EXPERIMENT.
"""

import logging
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from talkies.config.regular_files import resolved

ARTIFACTS = "artifacts"
WAIT_S = 1.0
_log = logging.getLogger(__name__)


def readdress(database: Path) -> None:
    """Point the experiments and runs of `database` to the folder `artifacts` beside it, if the artifacts are there and
    the addresses lead elsewhere. A locked or read-only database stays as it is; `beside` then finds the files to read.
    """
    if not database.is_file():
        return
    database = resolved(database)
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=WAIT_S)) as store:
            old = _elsewhere(store, database)
            if old:
                _rewrite(store, old)
                _log.warning("tracking: %s was moved: its addresses now lead to the artifacts beside it", database)
    except sqlite3.Error as error:
        _log.debug("tracking: %s: %s", database, error)  # MLflow reports what is wrong with it


def beside(path: Path, database: Path) -> Path:
    """The present path of the artifacts that `database` records at `path`: beside it, if it was moved with them."""
    folder = resolved(database).parent / ARTIFACTS
    ends = [path.relative_to(parent) for parent in path.parents if parent.name == ARTIFACTS]
    return next((folder / end for end in ends if (folder / end).is_dir()), path)


def _elsewhere(store: sqlite3.Connection, database: Path) -> Mapping[str, str]:
    """Address of an experiment's artifacts -> their present address, for those that have moved."""
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
    """The folder on this machine of an artifact address; None for a server's."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(address) if address.startswith("/") else None
