"""The weights of one component as a folder holds them: a file, or shards and their index."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from talkies.config import CheckpointError
from talkies.config.quoting import listed, shown
from talkies.config.records import Kind, present
from talkies.files.tensors import PICKLES
from talkies.weights.headers import read_header
from talkies.weights.pieces import Outgoing

JSON = Kind(holds=dict[str, Any], about="weights", remedy="download it again", error=CheckpointError, limit=100_000_000)
"""A small file of a released folder."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file of tensors: those by name in the order of its header, and the `order` of their bytes. `begin`: where these
    begin in a safetensors file (None: it is another)."""

    path: Path
    metadata: dict[str, str]
    tensors: dict[str, Outgoing]
    order: Sequence[str]
    begin: int | None


def index_of(folder: Path, stem: str) -> Path:
    """Where the index of shards lies."""
    return folder / f"{stem}.safetensors.index.json"


def found_files(folder: Path, stem: str) -> list[Found]:
    """The files of a component in `folder`, in order. CheckpointError for a file that is missing, damaged or unknown to
    the index, a key that is in two files, a pickle, or no weights at all."""
    files = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    index = index_of(folder, stem)
    if present(index):
        return indexed(folder, index, files)
    if len(files) == 1:
        return [read_found(files[0])]
    if files:
        raise CheckpointError(
            f"weights: {folder} has {len(files)} safetensors files and no {index.name}: needed is one, or the index"
        )
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLES)
    if pickles:
        raise CheckpointError(
            f"weights: {folder} has no safetensors file, only {listed(pickles)}, a pickle that may run code: convert "
            "it, or give --pickle, which reads a .pt, .pth or .bin of plain tensors"
        )
    raise CheckpointError(f"weights: {folder} has no safetensors file")


def read_found(path: Path) -> Found:
    """A safetensors file."""
    held = read_header(path)
    tensors = {
        name: Outgoing(name=name, dtype=piece.dtype, shape=piece.shape, size=piece.size, chunks=piece.chunks)
        for name, piece in held.pieces.items()
    }
    order = sorted(held.pieces, key=lambda name: (held.pieces[name].begin, held.pieces[name].size))
    begin = min((piece.begin for piece in held.pieces.values()), default=path.stat().st_size)
    return Found(path=path, metadata=held.metadata, tensors=tensors, order=order, begin=begin)


def indexed(folder: Path, index: Path, files: Sequence[Path]) -> list[Found]:
    """The shards that the index names, in the order of their names: all its keys, each where it says, and no others."""
    values = json_of(index)
    weight_map = values.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"weights: {index} has no `weight_map` of file names by key: download it again")
    for key, name in weight_map.items():
        _check_name(index, key, name)
    names = sorted({*weight_map.values()})
    for path in files:
        if path.name not in names:
            raise CheckpointError(f"weights: {path} is not named by {index.name} beside it: remove one of them")
    for name in names:
        if not (folder / name).is_file():
            raise CheckpointError(f"weights: {index} names {shown(name)}, which is no file there: download it")
    found = [read_found(folder / name) for name in names]
    _check_map(index, weight_map, found)
    _check_size(index, values.get("metadata", {}), found)
    return found


def _check_name(index: Path, key: str, name: Any) -> None:
    """CheckpointError for a file that does not lie beside the index."""
    if not isinstance(name, str) or not name or "\0" in name or PurePosixPath(name).name != name or name == "..":
        raise CheckpointError(
            f"weights: {index} names {shown(name)} for {shown(key)}: needed is the name of a file beside it"
        )
    if not name.endswith(".safetensors"):
        raise CheckpointError(f"weights: {index} names {shown(name)} for {shown(key)}, which is no .safetensors file")


def _check_map(index: Path, weight_map: dict[str, str], found: Sequence[Found]) -> None:
    where: dict[str, str] = {}
    for file in found:
        for key in file.tensors:
            if key in where:
                raise CheckpointError(
                    f"weights: {shown(key)} is both in {where[key]} and in {file.path.name} of {index.parent}: "
                    "download them again"
                )
            if key not in weight_map:
                raise CheckpointError(f"weights: {file.path} holds {shown(key)}, which {index.name} does not name")
            where[key] = file.path.name
    for key, name in weight_map.items():
        if where.get(key) != name:
            raise CheckpointError(f"weights: {index} says that {shown(key)} is in {name}, which does not hold it")


def _check_size(index: Path, metadata: Any, found: Sequence[Found]) -> None:
    """CheckpointError unless `total_size`, which may be missing, is that of all tensors."""
    size = sum(tensor.size for file in found for tensor in file.tensors.values())
    if not isinstance(metadata, dict):
        raise CheckpointError(f"weights: {index}: `metadata` must be an object, and is {shown(metadata)}")
    if (stated := metadata.get("total_size", size)) != size:
        raise CheckpointError(
            f"weights: {index} says `total_size` {shown(stated)}, and the tensors of its files have {size} bytes: "
            "download them again"
        )


def json_of(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a released folder. CheckpointError if it is missing or damaged."""
    return JSON.read(path)
