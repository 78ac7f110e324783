"""Untrusted weights: safetensors only."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from talkies.checkpoints.weights import read_weights
from talkies.config import CheckpointError


class Malicious:
    """Unpickling this makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.marker,)


def test_round_trip(tmp_path: Path) -> None:
    expected = {"a": torch.randn(3).bfloat16(), "b": torch.arange(4)}
    save_file(expected, tmp_path / "w.safetensors")
    found = read_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in expected.items())


@pytest.mark.parametrize("name", ["w.pt", "w.ckpt", "w.bin", "w.PTH", "w.pkl"])
@pytest.mark.fault("s1", "malicious pickle", injected="a payload as .pt, .ckpt, .bin, .pth, .pkl")
def test_pickles_are_refused_unread(tmp_path: Path, name: str, record_outcome: Callable[..., None]) -> None:
    marker = tmp_path / "marker"
    torch.save({"w": Malicious(marker)}, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"is a pickle and may run code\. .*: `talkies import --pickle` reads"):
        read_weights(tmp_path / name)
    assert not marker.exists()
    record_outcome("refused unread")


@pytest.mark.fault("s1", "malicious pickle", injected="a payload as .safetensors")
def test_a_pickle_under_another_name_is_refused(tmp_path: Path, record_outcome: Callable[..., None]) -> None:
    marker = tmp_path / "marker"
    for name in ("w.safetensors", "w.weights"):
        (tmp_path / name).write_bytes(pickle.dumps(Malicious(marker)))
        with pytest.raises(CheckpointError, match=r"damaged or hostile|is not a \.safetensors"):
            read_weights(tmp_path / name)
    assert not marker.exists()
    record_outcome("refused, no code runs")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack("<Q", 2**63) + b"{}", "claims a header of 9223372036854775808 bytes and has 10 in all"),
        (struct.pack("<Q", 3) + b"{}", "claims a header of 3 bytes"),
        (struct.pack("<Q", 4) + b"[42]", "its header is not a JSON object"),
        (struct.pack("<Q", 4) + b"nope", "cannot read"),
        (b"", "cannot read"),
        (b"\x01\x02", "cannot read"),
    ],
)
@pytest.mark.fault("s2", "huge safetensors header", injected="headers of 2^63 and other impossible bytes")
def test_hostile_headers_are_refused(
    tmp_path: Path, content: bytes, message: str, record_outcome: Callable[..., None]
) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path / "w.safetensors")
    record_outcome("refused with both sizes")


def test_truncated_and_missing(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(CheckpointError, match="No such file"):
        read_weights(path)
    save_file({"a": torch.randn(100)}, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match=r"cannot read .*w\.safetensors: "):
        read_weights(path)
