"""A span of consecutive elements of a tensor: what ZeRO leaves to a rank, as torch.distributed.checkpoint stores it.

DCP stores boxes. A span that begins or ends in the middle of a row is cut into a few of them, so that what ZeRO wrote
is the same checkpoint as any other layout's, and is read by any other.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import TensorWriteData, WriteItem, WriteItemType
from torch.distributed.tensor import DTensor


@dataclass(frozen=True)
class Box:
    """`values[first : first + prod(sizes)]` of a span, at `offsets` of the whole."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    first: int


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorSpan:
    """Elements `start` to `start + len(values)`, in row-major order, of a tensor of `shape` that ranks share."""

    values: Tensor
    shape: torch.Size
    start: int

    @property
    def dtype(self) -> torch.dtype:
        """That of the whole."""
        return self.values.dtype

    @property
    def ndim(self) -> int:
        """That of the whole."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """What this rank holds."""
        return self.values.nbytes

    def size(self) -> torch.Size:
        """That of the whole, as DCP asks for it."""
        return self.shape

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "TensorSpan":
        """The span of `function`'s values, which must be as many."""
        values = function(self.values)
        assert values.shape == self.values.shape, (values.shape, self.values.shape)
        return replace(self, values=values)

    def to_local(self) -> Tensor:
        """What this rank holds, in one dimension."""
        return self.values

    def full_tensor(self) -> Tensor:
        """All of it, on every rank; each must ask for it. The spans of all ranks cover the whole once."""
        whole = self.values.new_zeros(prod(self.shape))
        whole[self.start : self.start + len(self.values)] = self.values
        if dist.is_initialized():
            dist.all_reduce(whole)
        return whole.view(self.shape)

    def boxes(self) -> Iterator[Box]:
        """The boxes of which the span consists, in order."""
        return _boxes(self.shape, self.start, self.start + len(self.values), self.start)

    def box(self, offsets: torch.Size | None) -> Tensor:
        """The values of the box at `offsets`, one of `boxes`."""
        (found,) = (box for box in self.boxes() if torch.Size(box.offsets) == offsets)
        return self.values[found.first : found.first + prod(found.sizes)].view(found.sizes)

    def __create_write_items__(self, fqn: str, _: object) -> list[WriteItem]:
        properties = TensorProperties(dtype=self.dtype)
        return [
            WriteItem(
                index=MetadataIndex(fqn, torch.Size(box.offsets)),
                type=WriteItemType.SHARD,
                tensor_data=TensorWriteData(chunk=_chunk(box), properties=properties, size=self.shape),
            )
            for box in self.boxes()
        ]

    def __create_chunk_list__(self) -> list[ChunkStorageMetadata]:
        return [_chunk(box) for box in self.boxes()]


Held = Tensor | TensorSpan
"""What a rank holds of a tensor: all of it, the shard of a DTensor, or a span."""


def local(held: Held) -> Tensor:
    """The part that this rank holds."""
    return held.to_local() if isinstance(held, DTensor | TensorSpan) else held


def whole(held: Held) -> Tensor:
    """All of it, gathered from every rank that holds a part; for small ones."""
    return held.full_tensor() if isinstance(held, DTensor | TensorSpan) else held


def mapped(held: Held, function: Callable[[Tensor], Tensor]) -> Held:
    """`function` of it, element by element, held alike."""
    return function(held) if isinstance(held, Tensor) else held.mapped(function)


def _chunk(box: Box) -> ChunkStorageMetadata:
    return ChunkStorageMetadata(offsets=torch.Size(box.offsets), sizes=torch.Size(box.sizes))


def _boxes(shape: Sequence[int], begin: int, end: int, origin: int) -> Iterator[Box]:
    """Boxes of the elements `begin` to `end` of a tensor of `shape`; the values of the span begin at `origin`."""
    if begin >= end:
        return
    if not shape:
        yield Box(offsets=(), sizes=(), first=begin - origin)
        return
    row = prod(shape[1:])
    head, tail = -(-begin // row), end // row  # whole rows
    cuts = [(begin, end)] if head > tail else [(begin, head * row), (tail * row, end)]
    yield from _inside(shape[1:], *cuts[0], origin)
    if head < tail:
        zeros = (0,) * (len(shape) - 1)
        yield Box(offsets=(head, *zeros), sizes=(tail - head, *shape[1:]), first=head * row - origin)
    for cut in cuts[1:]:
        yield from _inside(shape[1:], *cut, origin)


def _inside(rest: Sequence[int], begin: int, end: int, origin: int) -> Iterator[Box]:
    """Boxes of a part of one row, whose shape is `rest`."""
    number = begin // prod(rest)
    base = number * prod(rest)
    for box in _boxes(rest, begin - base, end - base, origin - base):
        yield Box(offsets=(number, *box.offsets), sizes=(1, *box.sizes), first=box.first)
