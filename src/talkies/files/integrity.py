"""Checks that a file is unchanged. safetensors itself detects truncation, but not a flipped byte."""

import hashlib
import os
import time
from pathlib import Path

from talkies.config.records import open_regular
from talkies.signals.answer import check_signal

_CHUNK = 1 << 20
# A change within one clock tick does not change the time stamps: only hashes of older files are cached.
_SETTLED_NS = 2_000_000_000
_KNOWN: dict[Path, tuple[str, str]] = {}


def stamp(path: Path) -> str:
    """A text that changes whenever the content may have: size, mtime, ctime (which cannot be set) and inode."""
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def stamp_is_reliable(path: Path) -> bool:
    """Whether the file is old enough for its stamp to reveal every later change."""
    status = path.stat()
    return time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS


def sha256_of(path: Path) -> str:
    """sha256 of a file, read as a stream; an unchanged file is read once per process."""
    path = path.absolute()
    before = stamp(path)
    known = _KNOWN.get(path)
    if known is not None and known[0] == before:
        return known[1]
    digest = hashlib.sha256()
    with os.fdopen(open_regular(path), "rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
            check_signal()
    if stamp_is_reliable(path):
        _KNOWN[path] = (before, digest.hexdigest())
    return digest.hexdigest()


def damage(path: Path, *, size: int, sha256: str) -> str | None:
    """How a file differs from its known size and sha256, as the end of a sentence about it; None if it does not."""
    try:
        if not path.is_file():
            return "is missing"
        found = path.stat().st_size
        if found != size:
            return f"is {'truncated' if found < size else 'too long'}: found {found} bytes, expected {size}"
        digest = sha256_of(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if digest == sha256 else f"is damaged: found sha256 {digest[:16]}, expected {sha256[:16]}"
