"""Regular files of a bounded size: what else may stand in their place is refused, and never waited for."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from talkies.config.errors import DataError

_MODES = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a named pipe, no regular file"),
    (stat.S_ISSOCK, "it is a socket, no regular file"),
)


class IrregularError(OSError):
    """A folder, a pipe, a socket or a device in place of a regular file."""


def present(path: Path) -> bool:
    """Whether anything is there, a broken link and a pipe too: who reads it will refuse it by name."""
    return os.path.lexists(path)


def resolved(path: Path) -> Path:
    """`path`, absolute and without links. Path.resolve raises RuntimeError for links in a circle (before Python 3.13);
    here they are left for whoever opens them, who is told so by the system."""
    return Path(os.path.realpath(path))


def regular_bytes(path: Path, limit: int) -> bytes:
    """What the regular file `path` holds. OSError, whose `strerror` says why, for anything else, which is not waited
    for, and for more than `limit` bytes, which are not read."""
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > limit else file.read(limit + 1)
    if data is None:  # what calls itself a regular file, as some of /proc do, has nothing to say now
        raise IrregularError(errno.EAGAIN, "it has to be waited for", str(path))
    if max(size, len(data)) > limit:  # it may have grown meanwhile
        found = max(size, len(data))
        raise OSError(errno.EOVERFLOW, f"it has {found} bytes, and at most {limit} are read", str(path))
    return data


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of the regular file `path`. OSError, whose `strerror` says why, for anything else, which is not
    waited for."""
    with suppress(FileNotFoundError):  # which O_CREAT makes
        _need_regular(path.stat(), path)  # before it is opened: to open a device may do something
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o644)
    try:
        _need_regular(os.fstat(handle), path)
    except OSError:
        os.close(handle)
        raise
    return handle


def open_ours(path: Path, flags: int) -> int:
    """As `open_regular`, for a file that we make and keep open (a lock, a log). Raises DataError where something else
    has taken its place, OSError where the disk refuses."""
    try:
        return open_regular(path, flags | os.O_CREAT)
    except IrregularError as error:
        raise DataError(f"files: cannot open {path}: {error.strerror}; remove it, or move it away") from None


def _need_regular(found: os.stat_result, path: Path) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    for is_so, what in _MODES:
        if is_so(found.st_mode):
            raise IrregularError(errno.EINVAL, what, str(path))
    raise IrregularError(errno.EINVAL, "it is a device, no regular file", str(path))
