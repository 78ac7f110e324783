"""Files of tensors are those that safetensors writes, divided as they should be."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from talkies.weights.headers import read_header
from talkies.weights.pieces import Outgoing
from talkies.weights.shards import Shard, divided

TENSORS = {
    "b": torch.randn(3, 5, generator=torch.Generator().manual_seed(0)),
    "a": torch.arange(7, dtype=torch.bfloat16),
    "c.d": torch.ones(2, 2, 2, dtype=torch.float64),
    "e": torch.ones(4),
}


def outgoing(folder: Path, tensors: dict[str, Tensor]) -> list[Outgoing]:
    path = folder / "source.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    return [
        Outgoing(name=name, dtype=piece.dtype, shape=piece.shape, size=piece.size, chunks=piece.chunks)
        for name, piece in read_header(path).pieces.items()
    ]


def test_a_single_file_is_that_of_safetensors(tmp_path: Path) -> None:
    tensors = outgoing(tmp_path, TENSORS)
    (shard,) = divided("model", [tensors[i] for i in (2, 0, 3, 1)], 10**6)
    assert shard.file == "model.safetensors"
    shard.write(tmp_path)
    assert (tmp_path / shard.file).read_bytes() == (tmp_path / "source.safetensors").read_bytes()


@pytest.mark.parametrize("limit", [1, 20, 64, 100, 1000])
def test_files_are_at_most_as_large_as_asked(tmp_path: Path, limit: int) -> None:
    shards = divided("model", outgoing(tmp_path, TENSORS), limit)
    found: dict[str, Tensor] = {}
    for number, shard in enumerate(shards, 1):
        assert len(shards) == 1 or shard.file == f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        assert shard.size <= limit or len(shard.tensors) == 1
        shard.write(tmp_path)
        found |= load_file(tmp_path / shard.file)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], value) for name, value in TENSORS.items())


def test_a_header_may_list_names_in_another_order_than_their_bytes(tmp_path: Path) -> None:
    first, *others = outgoing(tmp_path, TENSORS)
    names = [first.name, *(tensor.name for tensor in others)]
    Shard(file="new.safetensors", tensors=[*others, first], listed=names, metadata={}).write(tmp_path)
    held = read_header(tmp_path / "new.safetensors")
    assert list(held.pieces) == names
    assert held.metadata == {}
    assert all(torch.equal(held.pieces[name].tensor(), value) for name, value in TENSORS.items())


def test_pieces_are_read_a_few_megabytes_at_a_time(tmp_path: Path) -> None:
    save_file({"x": torch.arange(3_000_000, dtype=torch.int32)}, tmp_path / "x.safetensors")
    (piece,) = read_header(tmp_path / "x.safetensors").pieces.values()
    sizes = [len(chunk) for chunk in piece.chunks()]
    assert sum(sizes) == 12_000_000
    assert max(sizes) <= 1 << 22
    assert torch.equal(piece.tensor(), torch.arange(3_000_000, dtype=torch.int32))
