"""NaN and infinities are found wherever chunks cut the bytes, and nothing else is taken for one."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from talkies.config import CheckpointError
from talkies.files.tensors import KINDS
from talkies.weights.finite import finite
from talkies.weights.pieces import Outgoing

FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
PATH = Path("x.safetensors")


def data_of(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def outgoing(name: str, tensor: Tensor) -> Outgoing:
    data = data_of(tensor)
    kind = KINDS[tensor.dtype]
    return Outgoing(name=name, dtype=kind, shape=tuple(tensor.shape), size=len(data), chunks=lambda: iter([data]))


def cut(data: bytes, size: int) -> Iterator[memoryview]:
    """As a file is read: into one buffer, again and again."""
    buffer = memoryview(bytearray(size))
    for begin in range(0, len(data), size):
        part = data[begin : begin + size]
        buffer[: len(part)] = part
        yield buffer[: len(part)]


def passed(tensors: dict[str, Tensor], size: int, head: bytes = b"") -> bytes:
    data = head + b"".join(data_of(tensor) for tensor in tensors.values())
    order = [outgoing(name, tensor) for name, tensor in tensors.items()]
    return b"".join(bytes(chunk) for chunk in finite(cut(data, size), order, PATH, before=len(head)))


def some(dtype: torch.dtype) -> Tensor:
    """All kinds of finite values."""
    info = torch.finfo(dtype)
    return torch.tensor([0.0, -0.0, 1.5, info.max, info.min, info.tiny, info.smallest_normal / 2, -3.25], dtype=dtype)


@pytest.mark.parametrize("size", [1, 3, 7, 16, 1000])
def test_finite_values_of_any_kind_pass_unchanged(size: int) -> None:
    tensors = {"odd": torch.tensor([255, 255, 255], dtype=torch.uint8), "none": torch.empty(0)}
    tensors |= {str(dtype): some(dtype) for dtype in FLOATS} | {"whole": torch.tensor([-1, 2**62])}
    head = b"\xff" * 13
    assert passed(tensors, size, head) == head + b"".join(data_of(tensor) for tensor in tensors.values())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", FLOATS)
def test_one_value_is_found_at_any_place(dtype: torch.dtype, value: float) -> None:
    for place in range(8):
        bad = some(dtype)
        bad[place] = value
        tensors = {"byte": torch.zeros(1, dtype=torch.uint8), "good": some(dtype), "bad": bad, "after": some(dtype)}
        for size in (1, 5, 16, 1000):
            with pytest.raises(CheckpointError, match=r"weights: x\.safetensors: 'bad' holds a NaN or an infinity"):
                passed(tensors, size)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_its_size_is_refused(change: int) -> None:
    tensor = some(torch.float32)
    data = (data_of(tensor) + b"\0")[: tensor.nbytes + change]
    with pytest.raises(CheckpointError, match="changed its size while it was read"):
        list(finite(cut(data, 5), [outgoing("x", tensor)], PATH))
