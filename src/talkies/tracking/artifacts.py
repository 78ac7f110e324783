"""Release folders as a run's artifacts: stored once, then read back and compared."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from mlflow import MlflowClient

from talkies.config import TrackingError
from talkies.tracking.store import local_artifacts, translated

MARKER = "release.json"


def push(client: MlflowClient, run_id: str, folder: Path, name: str) -> str:
    """Store `folder` as the run's artifact folder `name` (as hard links in a store on this machine), read it back and
    compare every file's sha256. Returns its source, `runs:/ID/NAME`.

    Raises TrackingError if the run already has another release there, or the store gives back something else.
    """
    with translated(f"cannot store {folder} in run {run_id}"):
        local = local_artifacts(client, run_id)
        target = None if local is None else local / name
        _require_same(_stored(client, run_id, f"{name}/{MARKER}", target), folder, f"runs:/{run_id}/{name}")
        if target is None:
            client.log_artifacts(run_id, str(folder), artifact_path=name)
        else:
            link_tree(folder, target)
        for path in files(folder):
            stored = _stored(client, run_id, f"{name}/{path}", target)
            if stored != digest(folder / path):
                what = "nothing" if stored is None else f"sha256 {stored[:12]}"
                raise TrackingError(
                    f"tracking: runs:/{run_id}/{name} gives back {what} for {path}; the store is damaged"
                )
    return f"runs:/{run_id}/{name}"


def fetch(client: MlflowClient, source: str, target: Path) -> None:
    """Write the artifact folder `source` (`runs:/ID/NAME`) to the new folder `target`, unverified.

    Raises TrackingError if the store has nothing there (MLflow registers versions of paths that do not exist).
    """
    run_id, _, name = source.removeprefix("runs:/").partition("/")
    with translated(f"cannot fetch {source}"):
        local = local_artifacts(client, run_id)
        if local is not None and (local / name / MARKER).is_file():
            link_tree(local / name, target)
        elif local is None and any(entry.path == f"{name}/{MARKER}" for entry in client.list_artifacts(run_id, name)):
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as beside:
                Path(client.download_artifacts(run_id, name, beside)).rename(target)
        else:
            raise TrackingError(f"tracking: {source} holds no {MARKER}: the registered version has no files")


def link_tree(folder: Path, target: Path) -> None:
    """Hard-link every file of `folder` below `target`, or copy it to another file system; files there are replaced."""
    for path in files(folder):
        linked = target / path
        linked.parent.mkdir(parents=True, exist_ok=True)
        temporary = linked.with_name(f".{linked.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            temporary.hardlink_to(folder / path)
        except OSError:  # another file system, or one without links
            shutil.copyfile(folder / path, temporary)
        temporary.replace(linked)
        temporary.unlink(missing_ok=True)  # rename(2) does nothing if both are links to one file


def files(folder: Path) -> list[Path]:
    """Every file below `folder`, as relative paths in a fixed order."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _stored(client: MlflowClient, run_id: str, path: str, target: Path | None) -> str | None:
    """sha256 of an artifact as the store gives it back; None if it has none. `target`: its folder, if local."""
    if target is not None:
        local = target.parent / path
        return digest(local) if local.is_file() else None
    parent = path.rpartition("/")[0]
    if all(entry.path != path for entry in client.list_artifacts(run_id, parent)):
        return None
    with tempfile.TemporaryDirectory(prefix="talkies-verify-") as folder:
        return digest(Path(client.download_artifacts(run_id, path, folder)))


def _require_same(found: str | None, folder: Path, source: str) -> None:
    wanted = digest(folder / MARKER)
    if found is not None and found != wanted:
        raise TrackingError(
            f"tracking: {source} already holds another release ({MARKER} {found[:12]}, not {wanted[:12]}), which a "
            "version may point at: train with --new for another release"
        )
