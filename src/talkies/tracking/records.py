"""The lines of a spool, one JSON object each. Lines that are none of the records below are counted and left out.

Every record has `kind`, `time` (wall clock of the first logging, ms) and `session` (one per Tracker). Non-finite
numbers are the strings "nan", "inf" and "-inf", since JSON has no such numbers.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from talkies.config import DataError
from talkies.config.records import open_regular, present

SPOOL = "spool.jsonl"
OUTBOX = "outbox"
LINE = 16 << 20
"""Bytes of the longest line that is read."""
STATUSES = ("RUNNING", "FINISHED", "FAILED", "KILLED")

Record = dict[str, Any]
Check = Callable[[Any], bool]


def encode(record: Mapping[str, object]) -> bytes:
    """A record as one line."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def number(value: float) -> float | str:
    """A metric's value as a record holds it; `float` reads it back."""
    return value if math.isfinite(value) else str(value)


def read(path: Path, offset: int) -> Iterator[tuple[int, Record | None]]:
    """(offset after the line, its record) of every complete line from byte `offset` on; the record is None for a torn
    line, or one that no Tracker wrote.

    A last line without its newline is still being written: it is left for the next call. DataError if `path` is not a
    regular file or cannot be read.
    """
    if not present(path):
        return
    try:
        descriptor = open_regular(path)
    except OSError as error:
        raise DataError(f"tracking: cannot read {path}: {error.strerror}; restore it from a copy, or move it") from None
    with os.fdopen(descriptor, "rb") as handle:
        handle.seek(offset)
        for size, line in _lines(handle):
            offset += size
            if line != b"":
                yield offset, None if line is None else _decode(line)


def _lines(handle: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """(bytes, content) of every complete line; content is None for a line longer than LINE, which is not kept."""
    size = 0
    while part := handle.readline(LINE):
        size += len(part)
        if part.endswith(b"\n"):
            yield size, part[:-1] if size == len(part) else None
            size = 0
        elif len(part) < LINE:
            return


def _decode(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and _complete(record) else None


def _complete(record: Record) -> bool:
    """Whether a record has all fields of its kind, so that its readers need not check."""
    kind = record.get("kind")
    fields = KINDS.get(kind) if isinstance(kind, str) else None
    return fields is not None and all(good(record.get(key)) for key, good in {**COMMON, **fields}.items())


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _path(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _integer(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _numbers(value: Any) -> bool:
    words = ("nan", "inf", "-inf")
    return isinstance(value, dict) and all(v in words or type(v) is float or _integer(v) for v in value.values())


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _kept(value: Any) -> bool:
    """Whether a value is TOKEN/NAME below the outbox, and not a path out of it."""
    parts = PurePosixPath(value).parts if isinstance(value, str) else ()
    return len(parts) == 2 and not {"..", "/"} & {*parts}


COMMON: Mapping[str, Check] = {"time": _integer, "session": _text}
KINDS: Mapping[str, Mapping[str, Check]] = {
    "begin": {
        **dict.fromkeys(("run", "name", "experiment", "store", "host"), _text),
        **dict.fromkeys(("artifacts", "parent"), _path),
        "training": lambda value: isinstance(value, bool),
        "pid": _integer,
    },
    "params": {"values": _texts},
    "tags": {"values": _texts},
    "metrics": {"step": _integer, "values": _numbers},
    "back": {"step": _integer},
    "artifact": {"file": _kept, "name": _text},
    "status": {"status": STATUSES.__contains__},
    "dropped": {"count": _integer},
    "end": {},
}
