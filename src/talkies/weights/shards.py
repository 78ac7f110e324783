"""A component written as released folders hold it: one safetensors file, or shards of a limited size and their index.

stem.safetensors, or stem-0000k-of-0000N.safetensors and stem.safetensors.index.json
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talkies.files.tensors import ALIGNMENT
from talkies.weights.pieces import Outgoing


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A file: its `tensors` in the order of their bytes, and the order in which its header lists their names."""

    file: str
    tensors: Sequence[Outgoing]
    listed: Sequence[str]
    metadata: Mapping[str, str] = field(default_factory=lambda: {"format": "pt"})

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.size for tensor in self.tensors)

    def write(self, folder: Path) -> None:
        """Make the file; each tensor's bytes are made right before they are written."""
        with (folder / self.file).open("xb") as file:
            file.write(self.header())
            for tensor in self.tensors:
                for chunk in tensor.chunks():
                    file.write(chunk)

    def header(self) -> bytes:
        """As safetensors spells it."""
        entries: dict[str, Any] = {}
        end = 0
        for tensor in self.tensors:
            begin, end = end, end + tensor.size
            entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
        first = {"__metadata__": dict(self.metadata)} if self.metadata else {}
        values = first | {name: entries[name] for name in self.listed}
        text = json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        return struct.pack("<Q", len(text)) + text


def divided(stem: str, tensors: Sequence[Outgoing], limit: int) -> list[Shard]:
    """`tensors` in files of at most `limit` bytes of values; a tensor that is larger has its own."""
    parts: list[list[Outgoing]] = [[]]
    filled = 0
    for tensor in tensors:
        if parts[-1] and filled + tensor.size > limit:
            parts.append([])
            filled = 0
        parts[-1].append(tensor)
        filled += tensor.size
    return [_ordered(shard_name(stem, number, len(parts)), part) for number, part in enumerate(parts, 1)]


def arranged(tensors: Sequence[Outgoing], weight_map: Mapping[str, str]) -> list[Shard]:
    """`tensors` in the files that the `weight_map` of an index names."""
    files: dict[str, list[Outgoing]] = {}
    for tensor in tensors:
        files.setdefault(weight_map[tensor.name], []).append(tensor)
    return [_ordered(file, files[file]) for file in sorted(files)]


def _ordered(file: str, tensors: Sequence[Outgoing]) -> Shard:
    """The widest values first, as safetensors orders them: every tensor begins at a multiple of its width."""
    part = sorted(tensors, key=lambda tensor: (-tensor.width, tensor.name))
    return Shard(file=file, tensors=part, listed=[tensor.name for tensor in part])


def shard_name(stem: str, number: int, count: int) -> str:
    """Of the file with this number, from 1."""
    return f"{stem}-{number:05d}-of-{count:05d}.safetensors" if count > 1 else f"{stem}.safetensors"


def index_text(shards: Sequence[Shard]) -> str:
    """The index of several files, as diffusers spells it."""
    weight_map = {tensor.name: shard.file for shard in shards for tensor in shard.tensors}
    values = {"metadata": {"total_size": sum(shard.size for shard in shards)}, "weight_map": weight_map}
    return json.dumps(values, indent=2, sort_keys=True) + "\n"
