"""Checks the files of a shard set against its index; a file is hashed once and then only after a change."""

from collections.abc import Sequence
from pathlib import Path

from talkies.config import DataError, StorageError
from talkies.config.plain_json import canonical_json
from talkies.data.records import VERIFIED, FileEntry
from talkies.files.durable import write_text
from talkies.files.integrity import damage, stamp, stamp_is_reliable

CACHE = ".verified.json"


def damaged_files(folder: Path, entries: Sequence[FileEntry]) -> dict[str, str]:
    """The files whose size or sha256 is not the entry's: name -> a predicate that describes the damage.

    Good files are recorded beside the shards, by (size, times, inode, sha256); if the folder is not writable, every
    file is hashed each time.
    """
    known = _read(folder / CACHE)
    good: dict[str, str] = {}
    bad: dict[str, str] = {}
    for entry in entries:
        path = folder / entry.name
        mark = f"{stamp(path)} {entry.sha256}" if path.is_file() else ""
        if not mark or known.get(entry.name) != mark:
            found = damage(path, size=entry.size, sha256=entry.sha256)
            if found is not None:
                bad[entry.name] = found
                continue
        if stamp_is_reliable(path):
            good[entry.name] = mark
    if good != known:
        _write(folder / CACHE, good)
    return bad


def verify_files(folder: Path, entries: Sequence[FileEntry]) -> None:
    """Raise DataError naming the first file that does not match its entry."""
    for name, found in damaged_files(folder, entries).items():
        raise refusal(folder / name, found)


def refusal(path: Path, found: str) -> DataError:
    """The error for a damaged file that is required."""
    return DataError(f"data: shard {path} {found}; copy it again or run `talkies prepare`")


def _read(path: Path) -> dict[str, str]:
    try:
        return VERIFIED.find(path) or {}
    except DataError:
        return {}  # the record only saves time


def _write(path: Path, good: dict[str, str]) -> None:
    try:
        write_text(path, canonical_json(good))
    except (OSError, StorageError):
        return  # a data root is often read-only: the next opening hashes again
