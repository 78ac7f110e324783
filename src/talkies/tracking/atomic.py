"""Small files that are either old or new, never half."""

import errno
import json
import os
from pathlib import Path

from talkies.config import StorageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, synced to the disk. Raises StorageError on a full or read-only disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageError(f"storage: cannot write {path}: {error.strerror}; free space or write elsewhere") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Replace `path` by `value`, keys sorted."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
