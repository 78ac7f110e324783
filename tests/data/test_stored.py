"""Our safetensors reader reads files that the library wrote, and names the damage of a bad file."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from talkies.config import DataError
from talkies.data.stored import StoredTensors, checksum, finite

TENSORS = {
    "plain": torch.randn(3, 5),
    "brain": torch.randn(7).bfloat16(),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "empty": torch.zeros(0, 8),
    "flags": torch.tensor([True, False, True]),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def test_what_the_library_wrote_is_read_bitwise(path: Path) -> None:
    stored = StoredTensors(path)
    for name, tensor in TENSORS.items():
        found = stored.read(name)
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found, tensor)
        assert checksum(found) == checksum(tensor)


def test_what_is_read_is_private_memory(path: Path) -> None:
    stored = StoredTensors(path)
    stored.read("plain").zero_()
    assert torch.equal(stored.read("plain"), TENSORS["plain"])


def headed(path: Path, header: object) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    return path


ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, None),
        ({"dtype": "F33"}, "its header is damaged"),
        ({"shape": [2, 3]}, "its header is damaged"),
        ({"shape": [-2, -2]}, "its header is damaged"),
        ({"shape": [2.0, 2]}, "its header is damaged"),
        ({"shape": None}, "its header is damaged"),
        ({"data_offsets": [-16, 0]}, "its header is damaged"),
        ({"data_offsets": "ab"}, "its header is damaged"),
        ({"data_offsets": [60, 76]}, "it is truncated, 12 bytes are missing"),
        ({"shape": [2**40], "data_offsets": [0, 2**42]}, "it is truncated, 4398046511040 bytes are missing"),
    ],
)
def test_a_damaged_entry_is_named(tmp_path: Path, changed: dict[str, object], message: str | None) -> None:
    stored = StoredTensors(headed(tmp_path / "x", {"a": {**ENTRY, **changed}}))
    if message is None:
        assert torch.equal(stored.read("a"), torch.zeros(2, 2))
        return
    with pytest.raises(DataError, match=f"cannot read a from .*/x: {message}"):
        stored.read("a")


@pytest.mark.parametrize(
    "header", [[1, 2], b"{\xff}", b"nonsense", b"[" * 100_000], ids=["list", "bytes", "text", "deep"]
)
def test_a_damaged_header_is_named(tmp_path: Path, header: object) -> None:
    with pytest.raises(DataError, match=r"cannot read .*/x: its header is"):
        StoredTensors(headed(tmp_path / "x", header))


@pytest.mark.parametrize("content", [b"", b"abc", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 0)])
def test_a_header_of_absurd_length_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*/x: its header"):
        StoredTensors(tmp_path / "x")


def test_a_missing_tensor_and_a_missing_file(path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read other from .*: it holds no such tensor"):
        StoredTensors(path).read("other")
    with pytest.raises(FileNotFoundError):
        StoredTensors(path.with_name("other"))


def test_a_file_is_closed_when_unreferenced(path: Path) -> None:
    stored = StoredTensors(path)
    file = stored._file
    del stored
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(file)


def test_the_checksum_sees_a_bit_the_shape_and_the_dtype() -> None:
    plain = torch.arange(6.0)
    found = {checksum(plain), checksum(plain.view(2, 3)), checksum(plain.view(torch.int32))}
    for bit in range(0, 192, 7):
        flipped = plain.clone()
        flipped.view(torch.uint8)[bit // 8] ^= 1 << bit % 8
        found.add(checksum(flipped))
    assert len(found) == 3 + len(range(0, 192, 7))
    assert checksum(plain[::2]) == checksum(plain[::2].contiguous())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finite_agrees_with_testing_each_value(dtype: torch.dtype) -> None:
    top = torch.finfo(dtype).max
    assert finite(torch.full((1000,), top, dtype=dtype))  # whose sum is not
    assert finite(torch.zeros(0, dtype=dtype))
    for bad in (torch.inf, -torch.inf, torch.nan):
        for other in (1.0, -top):
            values = torch.full((1000,), other, dtype=dtype)
            values[321] = bad
            assert not finite(values)
    assert not finite(torch.tensor([torch.inf, -torch.inf], dtype=dtype))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "shard.safetensors"
    make(path)
    with pytest.raises(DataError, match=r"shard\.safetensors: it is not a regular file"):
        StoredTensors(path)
