"""Tensors of a safetensors file, read into private memory, and their checksums.

Not memory-mapped: touching a mapped page that the disk cannot deliver, or that was truncated away, kills the process
with SIGBUS; a read raises an error that can be handled. And the bytes that were checked are those that are used: the
bytes of a mapped file may change in between.
"""

import json
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talkies.config import DataError
from talkies.config.quoting import shown
from talkies.files.tensors import KINDS

_DTYPES = {name: dtype for dtype, name in KINDS.items()}
_LENGTH = 8
_LONGEST_HEADER = 100_000_000  # what safetensors itself reads


def checksum(tensor: Tensor) -> int:
    """crc32 of dtype, shape and the values as stored; it changes with every flipped bit."""
    plain = tensor.detach().cpu().contiguous()
    header = zlib.crc32(f"{KINDS[plain.dtype]}{list(plain.shape)}".encode())
    return zlib.crc32(_bytes(plain), header)


def finite(tensor: Tensor) -> bool:
    """Whether every value is finite. A finite sum proves it at a fraction of the cost of testing each value."""
    return bool(torch.isfinite(tensor.sum(dtype=torch.float32))) or bool(torch.isfinite(tensor).all())


class StoredTensors:
    """One open safetensors file. Raises OSError on a disk error, DataError if the file is not a safetensors file or is
    truncated."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file() and path.exists():  # opening a pipe would block
            raise DataError(f"data: cannot read {path}: it is not a regular file")
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._start, self._entries = self._header()
        except (ValueError, struct.error, RecursionError) as error:
            reason = str(error) if isinstance(error, DataError) else f"its header is damaged ({error})"
            raise DataError(f"data: cannot read {path}: {reason}") from None

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def read(self, key: str) -> Tensor:
        """The tensor `key`."""
        entry = self._entries.get(key)
        if entry is None:
            raise DataError(f"data: cannot read {key} from {self.path}: it holds no such tensor")
        try:
            dtype, shape, (begin, end) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
            fits = all(type(n) is int and n >= 0 for n in (begin, *shape))
            fits = fits and end - begin == math.prod(shape) * dtype.itemsize
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise DataError(f"data: cannot read {key} from {self.path}: its header is damaged ({shown(entry)})")
        missing = self._start + end - os.fstat(self._file).st_size
        if missing > 0:
            raise self._truncated(key, missing)
        tensor = torch.empty(shape, dtype=dtype)
        self._fill(_bytes(tensor), self._start + begin, key)
        return tensor

    def _header(self) -> tuple[int, dict[str, Any]]:
        (length,) = struct.unpack("<Q", os.pread(self._file, _LENGTH, 0))
        size = os.fstat(self._file).st_size
        if not 2 <= length <= min(size - _LENGTH, _LONGEST_HEADER):
            raise DataError(f"its header cannot be {length} bytes long in a file of {size}")
        entries = json.loads(os.pread(self._file, length, _LENGTH))
        if not isinstance(entries, dict):
            raise DataError("its header is not a mapping")
        return _LENGTH + length, entries

    def _fill(self, into: memoryview, offset: int, key: str) -> None:
        """Fill `into` from `offset` on, in a loop: one read returns at most 2 GiB."""
        done = 0
        while done < len(into):
            count = os.preadv(self._file, [into[done:]], offset + done)
            if not count:
                raise self._truncated(key, len(into) - done)
            done += count

    def _truncated(self, key: str, missing: int) -> DataError:
        return DataError(f"data: cannot read {key} from {self.path}: it is truncated, {missing} bytes are missing")


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data
