"""A component written as released folders hold it: one safetensors file, or shards of a limited size and their index.

stem.safetensors, or stem-0000k-of-0000N.safetensors and stem.safetensors.index.json
"""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from talkies.files.tensors import ALIGNMENT
from talkies.weights.pieces import Outgoing

Shards = list[tuple[str, list[Outgoing]]]
"""(file, its tensors in the order of their bytes), in order."""


def divided(stem: str, tensors: Sequence[Outgoing], limit: int) -> Shards:
    """`tensors` in files of at most `limit` bytes of values; a tensor that is larger has its own."""
    parts: list[list[Outgoing]] = [[]]
    filled = 0
    for tensor in tensors:
        if parts[-1] and filled + tensor.size > limit:
            parts.append([])
            filled = 0
        parts[-1].append(tensor)
        filled += tensor.size
    count = len(parts)
    return [(shard_name(stem, number, count), _aligned(part)) for number, part in enumerate(parts, 1)]


def shard_name(stem: str, number: int, count: int) -> str:
    """Of the file with this number, from 1."""
    return f"{stem}-{number:05d}-of-{count:05d}.safetensors" if count > 1 else f"{stem}.safetensors"


def _aligned(tensors: list[Outgoing]) -> list[Outgoing]:
    """The widest values first, as safetensors orders them: every tensor begins at a multiple of its width."""
    return sorted(tensors, key=lambda tensor: (-tensor.width, tensor.name))


def write_shard(
    path: Path, tensors: Sequence[Outgoing], metadata: Mapping[str, str], listed: Sequence[str] | None = None
) -> None:
    """The new file `path`; the tensors' bytes are made one after the other, in this order. `listed`: their order in the
    header, if it is another."""
    with path.open("xb") as file:
        file.write(header(tensors, metadata, listed))
        for tensor in tensors:
            for chunk in tensor.chunks():
                file.write(chunk)


def header(tensors: Sequence[Outgoing], metadata: Mapping[str, str], listed: Sequence[str] | None = None) -> bytes:
    """The header of a file that holds the bytes of `tensors` in this order, as safetensors spells it."""
    entries: dict[str, Any] = {}
    end = 0
    for tensor in tensors:
        begin, end = end, end + tensor.size
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    first = {"__metadata__": dict(metadata)} if metadata else {}
    values = first | {name: entries[name] for name in listed or entries}
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def index_text(shards: Shards) -> str:
    """The index of several files, as diffusers spells it."""
    total = sum(tensor.size for _, tensors in shards for tensor in tensors)
    weight_map = {tensor.name: file for file, tensors in shards for tensor in tensors}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2, sort_keys=True) + "\n"
