"""The lines of a spool: one JSON object each, complete or ignored.

Every record has `kind`, `time` (wall clock of the first logging, ms) and `session` (one per Tracker). Non-finite
numbers are the strings "nan", "inf" and "-inf", as JSON has no others.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SPOOL = "spool.jsonl"
OUTBOX = "outbox"
CHUNK = 1 << 20

KINDS = frozenset({"begin", "params", "tags", "metrics", "artifact", "status", "dropped", "end"})

Record = dict[str, Any]


def encode(record: Mapping[str, object]) -> bytes:
    """A record as one line."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def number(value: float) -> float | str:
    """A metric's value as a record holds it; `float` reads it back."""
    return value if math.isfinite(value) else str(value)


def read(path: Path, offset: int) -> Iterator[tuple[int, Record | None]]:
    """(offset after the line, its record) of every complete line from byte `offset` on; None for a torn line.

    A last line without its newline is still being written: it is left for the next call.
    """
    if not path.exists():
        return
    rest = b""
    with path.open("rb") as handle:
        handle.seek(offset)
        while chunk := handle.read(CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                offset += len(line) + 1
                if line:
                    yield offset, _decode(line)


def _decode(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.get("kind") in KINDS else None
