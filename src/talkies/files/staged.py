"""Small files that are either old or new, never half."""

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from talkies.files.durable import UNWRITABLE, storage_errors


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, synced to the disk. Raises StorageError on a full or read-only disk."""
    with staged({path: text.encode()}) as put:
        put()


def write_json(path: Path, value: object) -> None:
    """Replace `path` by `value`, keys sorted."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


@contextmanager
def staged(files: Mapping[Path, bytes]) -> Iterator[Callable[[], None]]:
    """Write all of `files` beside what they will replace, synced to the disk, and give the function that puts them in
    place: by renaming alone, which needs no room. Where it is not called, all is as it was before, folders too.

    Raises StorageError where the disk is full or a folder cannot be written.
    """
    made: list[Path] = []
    temporary: dict[Path, Path] = {}
    put = False

    def place() -> None:
        nonlocal put
        put = True
        for path, written in temporary.items():
            with storage_errors(path, refused=UNWRITABLE):
                written.replace(path)

    try:
        for path, data in files.items():
            with storage_errors(path, refused=UNWRITABLE):
                _make(path.parent, made)
                if path.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
                temporary[path] = path.with_name(f".{path.name}.{os.getpid()}.tmp")
                _write(temporary[path], data)
        yield place
    finally:
        for written in temporary.values():
            with suppress(OSError):  # a read-only disk holds nothing of it
                written.unlink(missing_ok=True)
        for folder in reversed(made if not put else []):
            with suppress(OSError):  # somebody else has put something there
                folder.rmdir()


def _make(folder: Path, made: list[Path]) -> None:
    """Make `folder` and those above it; what was not there is added to `made`, the outermost first."""
    for missing in [path for path in (folder, *folder.parents) if not path.exists()][::-1]:
        missing.mkdir(exist_ok=True)
        made.append(missing)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
