"""Tensors of a safetensors file, read into memory of one's own, and their checksums.

Not memory-mapped: of a mapped file that was cut short, or of which the disk no longer gives a block, a touch ends the
process with SIGBUS, where a read raises an error that can be answered. And what was checked is what is used: bytes of a
mapped file may change in between.
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
from talkies.config.shown import shown
from talkies.files.tensors import KINDS

_DTYPES = {name: dtype for dtype, name in KINDS.items()}
_LENGTH = 8
_LONGEST_HEADER = 100_000_000  # what safetensors itself reads


def checksum(tensor: Tensor) -> int:
    """crc32 of dtype, shape and the values as they are stored: a flipped bit never gives the same one."""
    plain = tensor.detach().cpu().contiguous()
    begun = zlib.crc32(f"{KINDS[plain.dtype]}{list(plain.shape)}".encode())
    return zlib.crc32(_bytes(plain), begun)


def finite(tensor: Tensor) -> bool:
    """Whether every value is a finite number. A finite sum says so, at a fraction of the cost of looking at each."""
    return bool(torch.isfinite(tensor.sum(dtype=torch.float32))) or bool(torch.isfinite(tensor).all())


class StoredTensors:
    """One open safetensors file. Raises OSError where the disk does, DataError where the file
    is no safetensors file or a truncated one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file() and path.exists():  # a pipe would be waited for
            raise DataError(f"data: cannot read {path}: it is no file")
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
        held = os.fstat(self._file).st_size
        if not 2 <= length <= min(held - _LENGTH, _LONGEST_HEADER):
            raise DataError(f"its header cannot be {length} bytes long, in a file of {held}")
        entries = json.loads(os.pread(self._file, length, _LENGTH))
        if not isinstance(entries, dict):
            raise DataError("its header is no mapping")
        return _LENGTH + length, entries

    def _fill(self, into: memoryview, offset: int, key: str) -> None:
        """One read gives 2 GiB at most."""
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
