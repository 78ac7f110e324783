"""Files that either exist completely, synced to the disk, or do not exist."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from talkies.config import StorageError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
UNWRITABLE = FULL | {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}
"""FULL, and the errors of a wrong path."""


@contextmanager
def storage_errors(
    path: Path, needed: int | Callable[[], int] = 0, *, refused: Collection[int] = FULL
) -> Iterator[None]:
    """Turn OSErrors with a `refused` number (default: disk full, over quota or read-only) into a StorageError that
    names `path` and the bytes `needed` (0: unknown; a function is called only on error). Other OSErrors pass."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno not in refused:
            raise
        count = needed() if callable(needed) else needed
        room = f"{count} bytes are needed, " if count else ""
        raise StorageError(
            f"storage: cannot write {path}: {os.strerror(error.errno)}; {room}{_free(path)}. Free space there, or "
            "choose another folder"
        ) from error


def check_room(path: Path, needed: int, *, otherwise: str = "") -> None:
    """StorageError, before anything is written, if the disk of `path` has less than `needed` bytes free; `otherwise`:
    another way out."""
    disk = shutil.disk_usage(nearest(path))
    if disk.total and disk.free < needed:  # a file system in memory may have no limit, and says 0
        raise StorageError(
            f"storage: cannot write {path}: {needed} bytes are needed, {disk.free} are free. Free space there, or "
            f"choose another folder{otherwise}"
        )


def check_writable(path: Path, folder: Path) -> None:
    """StorageError, which names `path`, unless files can be made in `folder`. Nothing remains of the attempt."""
    with storage_errors(path, refused=UNWRITABLE), TemporaryFile(dir=folder):
        pass


def nearest(path: Path) -> Path:
    """`path`, or what exists above it."""
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def _free(path: Path) -> str:
    return f"{shutil.disk_usage(nearest(path)).free} are free"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; the file written there replaces `path` at the end, synced to the disk.

    After an exception the temporary file is removed and `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        fsync_path(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_path(path.parent)


def fsync_path(path: Path) -> None:
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(folder: Path) -> None:
    """fsync everything in `folder`, then the folder itself."""
    for path in folder.rglob("*"):
        fsync_path(path)
    fsync_path(folder)


def write_text(path: Path, text: str, *, refused: Collection[int] = FULL) -> None:
    """Replace `path` by `text`. Raises StorageError for errors that are `refused` (default: a full disk)."""
    data = text.encode()
    with storage_errors(path, len(data), refused=refused), replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: object, *, refused: Collection[int] = FULL) -> None:
    """As `write_text`, with sorted keys; the folder is made."""
    with storage_errors(path, refused=refused):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n", refused=refused)
