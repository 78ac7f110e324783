"""Safetensors files, written as a whole, or tensor by tensor so that memory holds only one tensor at a time."""

import json
import os
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from talkies.files.durable import replacing, storage_errors

KINDS = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
ALIGNMENT = 8
PICKLES = {".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pth", ".th"}
"""Suffixes of files that can run code when they are loaded."""
WAY_OUT = "`talkies import --pickle` reads a .pt, .pth or .bin without running its code"
"""What refusals of pickles say."""
_RUST_ERRNO = re.compile(r"\(os error (\d+)\)")


def without_pickles(folder: Path) -> list[Path]:
    """Every file below `folder` but those that can run code, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() not in PICKLES)


class Shaped(Protocol):
    """A tensor, or an object that represents a sharded one."""

    @property
    def shape(self) -> torch.Size: ...
    @property
    def dtype(self) -> torch.dtype: ...


T = TypeVar("T", bound=Shaped)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Replace `path` by a safetensors file of `tensors`, in their dtypes. Raises StorageError on a full disk."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    needed = sum(tensor.nbytes for tensor in plain.values())
    with storage_errors(path, needed), replacing(path) as temporary:
        try:
            save_file(plain, temporary, metadata={"format": "pt"})
        except SafetensorError as error:
            number = _RUST_ERRNO.search(str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(temporary)) from error


def stream_tensors(path: Path | None, tensors: Mapping[str, T], whole: Callable[[T], Tensor]) -> None:
    """Replace `path` by a safetensors file of `tensors`, each made `whole` right before it is written.

    If `whole` gathers shards, every process calls this with the same names; those without a `path` only take part.
    Raises StorageError on a full disk, but first gathers the remaining tensors, so that no process waits for this one.
    """
    names = sorted(tensors)
    if path is None:
        for name in names:
            whole(tensors[name])
        return
    header = _header({name: tensors[name] for name in names})
    done = 0
    with (
        storage_errors(path, sum(map(_size, tensors.values()))),
        replacing(path) as temporary,
    ):
        try:
            with temporary.open("wb") as file:
                file.write(header)
                for name in names:
                    tensor = whole(tensors[name]).detach()
                    done += 1
                    _write(file, tensor)
        except BaseException:
            for name in names[done:]:
                whole(tensors[name])
            raise


def _size(tensor: Shaped) -> int:
    return tensor.shape.numel() * tensor.dtype.itemsize


def _header(tensors: Mapping[str, Shaped]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + _size(tensor)
        entries[name] = {"dtype": KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _write(file: BinaryIO, tensor: Tensor) -> None:
    """Write the values in row-major order, little-endian like this machine."""
    plain = tensor.cpu().contiguous().reshape(-1)
    file.write(plain.view(torch.uint8).numpy().data)
