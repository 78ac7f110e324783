"""Tensors of safetensors files as stretches of bytes, read without mapping the files into memory."""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from talkies.config import CheckpointError
from talkies.config.records import open_regular
from talkies.files.tensors import KINDS
from talkies.signals.answer import check_signal

CHUNK = 1 << 22
DTYPES = {name: dtype for dtype, name in KINDS.items()}
Chunks = Callable[[], Iterator[bytes]]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A tensor of the file `path`: its dtype as safetensors spells it, its shape, and where its bytes are."""

    dtype: str
    shape: tuple[int, ...]
    path: Path
    begin: int
    size: int

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, a few MB at a time. CheckpointError if the file has become shorter."""
        with os.fdopen(open_regular(self.path), "rb") as file:
            file.seek(self.begin)
            left = self.size
            while left:
                check_signal()
                data = file.read(min(left, CHUNK))
                if not data:
                    raise CheckpointError(f"weights: {self.path} has become shorter while it was read")
                left -= len(data)
                yield data

    def tensor(self) -> Tensor:
        """Its values, in memory of their own."""
        data = bytearray(self.size)
        done = 0
        for chunk in self.chunks():
            data[done : done + len(chunk)] = chunk
            done += len(chunk)
        values = torch.frombuffer(data, dtype=DTYPES[self.dtype]) if data else torch.empty(0, dtype=DTYPES[self.dtype])
        return values.reshape(self.shape)


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A tensor to be written: its `name`, dtype, shape and number of bytes, which `chunks` makes when they are
    needed."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    chunks: Chunks

    @property
    def width(self) -> int:
        """Bytes of one value."""
        return self.size // max(1, math.prod(self.shape))


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A safetensors file: its `metadata`, and its tensors by name in the order of its header."""

    metadata: dict[str, str]
    pieces: dict[str, Piece]
