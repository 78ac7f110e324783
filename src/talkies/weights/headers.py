"""The header of a safetensors file from elsewhere, checked before anything is read by it."""

import json
import math
import os
import struct
from pathlib import Path
from typing import Any, TypeGuard

from talkies.config import CheckpointError
from talkies.config.quoting import shown
from talkies.config.records import open_regular
from talkies.weights.pieces import Contents, Piece

LIMIT = 100_000_000
"""Bytes of a header, as safetensors itself has it."""
WIDTHS = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip


def read_header(path: Path) -> Contents:
    """What the file holds: every tensor has the bytes of its shape, and together they fill the file, once. Raises
    CheckpointError that names the file and, if it is about a tensor, its key."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = _length(path, file.read(8), size)
            values = json.loads(file.read(length), object_pairs_hook=_once)
            json.dumps(values, ensure_ascii=False).encode()  # no half of a surrogate, which no file can hold
    except OSError as error:
        raise CheckpointError(f"weights: cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise _damaged(path, f"its header is no JSON: {shown(str(error))}") from None
    if not isinstance(values, dict):
        raise _damaged(path, "its header is no JSON object")
    metadata = values.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, "the `__metadata__` of its header must be texts by name")
    begin = 8 + length
    pieces = {name: _piece(path, name, entry, begin) for name, entry in values.items()}
    _check_filled(path, pieces, begin, size)
    return Contents(metadata=metadata, pieces=pieces)


def _length(path: Path, data: bytes, size: int) -> int:
    if len(data) < 8:
        raise _damaged(path, f"it has {size} bytes, which is no safetensors file")
    (length,) = struct.unpack("<Q", data)
    if length > min(size - 8, LIMIT):
        raise _damaged(
            path, f"it claims a header of {length} bytes; it has {size} in all, and a header has at most {LIMIT}"
        )
    return int(length)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} is there twice")
    return values


def _piece(path: Path, name: str, entry: Any, origin: int) -> Piece:
    """The tensor of an entry of the header."""
    values = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (values.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in WIDTHS:
        raise _damaged(path, f"{shown(name)} has the dtype {shown(dtype)}, which is none of {', '.join(WIDTHS)}")
    if not _whole(shape) or not _whole(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _damaged(path, f"{shown(name)} has no `shape` and `data_offsets` of whole numbers")
    needed, size = math.prod(shape) * WIDTHS[dtype], offsets[1] - offsets[0]
    if size != needed:
        raise _damaged(path, f"{shown(name)} of shape {shape} in {dtype} has {size} bytes, and needs {needed}")
    return Piece(dtype=dtype, shape=tuple(shape), path=path, begin=origin + offsets[0], size=size)


def _whole(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_filled(path: Path, pieces: dict[str, Piece], begin: int, size: int) -> None:
    """CheckpointError unless the tensors lie one after the other up to the end of the file."""
    for name, piece in sorted(pieces.items(), key=lambda item: (item[1].begin, item[1].size)):
        if piece.begin + piece.size > size:
            raise _damaged(
                path, f"{shown(name)} ends at byte {piece.begin + piece.size}, and the file has {size}: truncated"
            )
        if piece.begin != begin:
            raise _damaged(
                path, f"{shown(name)} begins at byte {piece.begin}, and the tensor before it ends at {begin}"
            )
        begin += piece.size
    if begin != size:
        raise _damaged(path, f"its tensors end at byte {begin}, and the file has {size}")


def _damaged(path: Path, how: str) -> CheckpointError:
    return CheckpointError(f"weights: {path} is damaged: {how}; download it again")
