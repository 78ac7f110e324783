"""Several small files that are replaced together, or not at all."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from talkies.files.durable import UNWRITABLE, storage_errors


@contextmanager
def staged(files: Mapping[Path, bytes]) -> Iterator[Callable[[], None]]:
    """Write all `files` beside the files that they will replace, synced to the disk, and yield the function that puts
    them in place: it only renames, which needs no disk space. If it is not called, everything is restored, new folders
    included.

    Raises StorageError if the disk is full or a folder cannot be written.
    """
    new_folders: list[Path] = []
    temporary: dict[Path, Path] = {}
    placed = False

    def place() -> None:
        nonlocal placed
        placed = True
        for path, written in temporary.items():
            with storage_errors(path, refused=UNWRITABLE):
                written.replace(path)

    try:
        for path, data in files.items():
            with storage_errors(path, refused=UNWRITABLE):
                _make(path.parent, new_folders)
                if path.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
                temporary[path] = path.with_name(f".{path.name}.{os.getpid()}.tmp")
                _write(temporary[path], data)
        yield place
    finally:
        for written in temporary.values():
            with suppress(OSError):  # on a read-only disk there is nothing to remove
                written.unlink(missing_ok=True)
        for folder in reversed(new_folders if not placed else []):
            with suppress(OSError):  # another process has put something there
                folder.rmdir()


def _make(folder: Path, new_folders: list[Path]) -> None:
    """Make `folder` and its missing parents, and append them to `new_folders`, the outermost first."""
    for missing in [path for path in (folder, *folder.parents) if not path.exists()][::-1]:
        missing.mkdir(exist_ok=True)
        new_folders.append(missing)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
