"""Regular files of a bounded size: anything else in their place is refused, without waiting for it."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from talkies.config.errors import DataError

_MODES = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a named pipe, not a regular file"),
    (stat.S_ISSOCK, "it is a socket, not a regular file"),
)


class IrregularError(OSError):
    """A folder, a pipe, a socket or a device in place of a regular file."""


def present(path: Path) -> bool:
    """Whether anything exists at `path`, even a broken link or a pipe: the reader will refuse it by name."""
    return os.path.lexists(path)


def resolved(path: Path) -> Path:
    """`path`, absolute and without links. Unlike Path.resolve (before Python 3.13), it does not raise RuntimeError for
    circular links: opening the path then raises the system's OSError."""
    return Path(os.path.realpath(path))


def regular_bytes(path: Path, limit: int) -> bytes:
    """The content of the regular file `path`. Raises OSError, whose `strerror` says why, for anything else (without
    waiting for it), and for more than `limit` bytes (without reading them)."""
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > limit else file.read(limit + 1)
    if data is None:  # some files of /proc appear regular, but have no data yet
        raise IrregularError(errno.EAGAIN, "it has to be waited for", str(path))
    if max(size, len(data)) > limit:  # it may have grown meanwhile
        count = max(size, len(data))
        raise OSError(errno.EOVERFLOW, f"it has {count} bytes, and at most {limit} are read", str(path))
    return data


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of the regular file `path`. Raises OSError, whose `strerror` says why, for anything else, without
    waiting for it."""
    with suppress(FileNotFoundError):  # O_CREAT may make it
        _need_regular(path.stat(), path)  # before opening, because opening a device may have an effect
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o644)
    try:
        _need_regular(os.fstat(handle), path)
    except OSError:
        os.close(handle)
        raise
    return handle


def open_ours(path: Path, flags: int) -> int:
    """Like `open_regular`, for a file that talkies makes and keeps open (a lock, a log). Raises DataError if something
    else is in its place, OSError if the disk refuses."""
    try:
        return open_regular(path, flags | os.O_CREAT)
    except IrregularError as error:
        raise DataError(f"files: cannot open {path}: {error.strerror}; remove it, or move it away") from None


def _need_regular(status: os.stat_result, path: Path) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    for matches, what in _MODES:
        if matches(status.st_mode):
            raise IrregularError(errno.EINVAL, what, str(path))
    raise IrregularError(errno.EINVAL, "it is a device, not a regular file", str(path))
