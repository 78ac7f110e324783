"""A file written tensor by tensor is one that the safetensors library reads."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from talkies.files.tensors import stream_tensors


def tensors() -> dict[str, Tensor]:
    return {
        "b.weight": torch.randn(5, 3),
        "a": torch.randn(2, 2).t().bfloat16(),
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "empty": torch.zeros(0, 4, dtype=torch.int64),
        "flags": torch.tensor([True, False]),
    }


def test_the_library_reads_it_bitwise(tmp_path: Path) -> None:
    written = tensors()
    stream_tensors(tmp_path / "x.safetensors", written, lambda tensor: tensor)
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == written.keys()
    for name, tensor in written.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_one_tensor_at_a_time_is_gathered_in_the_same_order_everywhere(tmp_path: Path) -> None:
    orders: list[list[float]] = []
    written = {name: torch.full((2,), float(i)) for i, name in enumerate("cab")}
    for path in (tmp_path / "x.safetensors", None):
        seen: list[float] = []
        stream_tensors(path, written, lambda tensor, seen=seen: (seen.append(float(tensor[0])), tensor)[1])  # type: ignore[misc]
        orders.append(seen)
    assert orders == [[1.0, 2.0, 0.0]] * 2
    assert load_file(tmp_path / "x.safetensors").keys() == written.keys()


def test_a_process_that_cannot_write_still_takes_part_in_every_gather(tmp_path: Path) -> None:
    seen: list[str] = []
    written = {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.complex64), "c": torch.ones(2)}
    (tmp_path / "x.safetensors").mkdir()
    with pytest.raises(KeyError):
        stream_tensors(tmp_path / "y.safetensors", written, lambda tensor: tensor)
    written.pop("b")
    with pytest.raises(IsADirectoryError):
        stream_tensors(tmp_path / "x.safetensors", written, lambda tensor: (seen.append("x"), tensor)[1])  # type: ignore[func-returns-value]
    assert seen == ["x", "x"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
