"""Weights from untrusted files: safetensors only, checked before they are mapped into memory."""

import json
import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from talkies.config import CheckpointError
from talkies.config.records import open_regular
from talkies.files.tensors import PICKLES, WAY_OUT

_HEADER_LIMIT = 100_000_000


def refuse_pickle(path: Path) -> None:
    """Raise CheckpointError for a file format that can run code when it is loaded."""
    if path.suffix.lower() in PICKLES:
        raise CheckpointError(
            f"weights: refusing {path}: a {path.suffix} file is a pickle and may run code. Provide .safetensors: "
            f"{WAY_OUT}"
        )


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU, in their dtypes.

    Raises CheckpointError for a pickle, a missing file, a header of impossible length, or damaged contents. A
    safetensors file has no checksum of its own: compare its sha256 first if one is known.
    """
    refuse_pickle(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"weights: {path} is not a .safetensors file")
    try:
        _check_header(path)
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError, struct.error, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"weights: cannot read {path}: {error}") from None
    return tensors


def open_weights(path: Path) -> Iterator[tuple[str, tuple[int, ...], Callable[[int, int], Tensor]]]:
    """(name, shape, read) of every tensor of a safetensors file; `read(first, last)` reads only these rows.
    Errors as `read_weights`."""
    refuse_pickle(path)
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                part = file.get_slice(name)
                shape = tuple(part.get_shape())
                yield name, shape, partial(_read_rows, file, name, whole=not shape)
    except (OSError, SafetensorError, struct.error, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"weights: cannot read {path}: {error}") from None


def _read_rows(file: Any, name: str, first: int, last: int, *, whole: bool) -> Tensor:
    tensor: Tensor = file.get_tensor(name) if whole else file.get_slice(name)[first:last]
    return tensor


def _check_header(path: Path) -> None:
    """Check the header: its length (8 bytes, little-endian), then JSON."""
    size = path.stat().st_size
    with os.fdopen(open_regular(path), "rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        if length > min(size - 8, _HEADER_LIMIT):
            raise CheckpointError(
                f"weights: {path} is damaged or hostile: it claims a header of {length} bytes and has {size} in all"
            )
        if not isinstance(json.loads(handle.read(length)), dict):
            raise CheckpointError(f"weights: {path} is damaged: its header is not a JSON object")
