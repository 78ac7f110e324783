"""A .pt, .pth or .bin of plain tensors, read without running anything that it names (torch's `weights_only`)."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talkies.config import CheckpointError
from talkies.config.quoting import listed, shown
from talkies.files.tensors import KINDS
from talkies.weights.found import Found
from talkies.weights.pieces import CHUNK, Outgoing

SUFFIXES = (".pt", ".pth", ".bin")


def pickled_files(folder: Path) -> list[Path]:
    """The pickles of a component's folder."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def read_pickle(path: Path) -> tuple[Found, str]:
    """The tensors of a pickle, and what it held, in words. They stay in the file until they are copied. CheckpointError
    if it holds anything that may run code, or no tensors."""
    held = read_plain(path)
    tensors = _tensors(path, held)
    others = sorted(str(name) for name in held if name not in tensors) if held is not tensors else []
    outgoing = {name: _outgoing(path, name, tensor) for name, tensor in tensors.items()}
    count = sum(tensor.numel() for tensor in tensors.values())
    words = f"{len(tensors)} tensors, {count:,} parameters, " + (f"and {listed(others)}" if others else "nothing else")
    found = Found(path=path, metadata={"format": "pt"}, tensors=outgoing, order=sorted(outgoing), begin=None)
    return found, words


def read_plain(path: Path, stand_ins: Sequence[tuple[Any, str]] = ()) -> Any:
    """What a pickle holds: tensors and plain values, and for a name in `stand_ins` what stands for it there.
    CheckpointError if it holds anything else, which may run code."""
    try:
        with torch.serialization.safe_globals([*stand_ins]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises those of its unpickler, of zip files and of the disk
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"weights: {path} cannot be read as plain tensors ({shown(first)}): convert it to safetensors"
        ) from None


def _tensors(path: Path, held: Any) -> dict[str, Tensor]:
    """Those of a state dict, or of the only one that a dict holds."""
    inside = list(held.values()) if isinstance(held, Mapping) else []
    for values in (held, *(inner for inner in inside if isinstance(inner, Mapping))):
        found = _own(values)
        if found:
            return found
    raise CheckpointError(f"weights: {path} holds a {type(held).__name__} without tensors by name")


def _own(values: Any) -> dict[str, Tensor]:
    if not isinstance(values, Mapping):
        return {}
    return {name: one for name, one in values.items() if isinstance(name, str) and isinstance(one, Tensor)}


def _outgoing(path: Path, name: str, tensor: Tensor) -> Outgoing:
    if tensor.dtype not in KINDS or tensor.layout != torch.strided:
        raise CheckpointError(f"weights: {path}: {shown(name)} is {tensor.dtype}, {tensor.layout}: no plain tensor")
    chunks = partial(_chunks, tensor)
    size = tensor.numel() * tensor.element_size()
    return Outgoing(name=name, dtype=KINDS[tensor.dtype], shape=tuple(tensor.shape), size=size, chunks=chunks)


def _chunks(tensor: Tensor) -> Iterator[bytes]:
    """Its bytes in row-major order."""
    plain = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    for begin in range(0, len(plain), CHUNK):
        yield plain[begin : begin + CHUNK].numpy().tobytes()
