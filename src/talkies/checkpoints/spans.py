"""A span of consecutive elements of a tensor: a rank's part under ZeRO, as it is stored in a checkpoint.

torch.distributed.checkpoint (DCP) stores boxes. A span that begins or ends in the middle of a row is cut into several
boxes, so that a checkpoint written under ZeRO equals that of any other layout, and any other layout can read it.
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
    """`values[first : first + prod(sizes)]` of a span, at `offsets` in the whole tensor."""

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
        """The dtype of the tensor."""
        return self.values.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions of the whole tensor."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that this rank holds."""
        return self.values.nbytes

    def size(self) -> torch.Size:
        """The shape of the whole tensor; DCP calls it."""
        return self.shape

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "TensorSpan":
        """The span of `function(values)`, which must have the same shape."""
        values = function(self.values)
        assert values.shape == self.values.shape, (values.shape, self.values.shape)
        return replace(self, values=values)

    def to_local(self) -> Tensor:
        """The elements that this rank holds, in one dimension."""
        return self.values

    def full_tensor(self) -> Tensor:
        """The whole tensor, on every rank; a collective. The spans of all ranks cover the tensor exactly once."""
        whole = self.values.new_zeros(prod(self.shape))
        whole[self.start : self.start + len(self.values)] = self.values
        if dist.is_initialized():
            dist.all_reduce(whole)
        return whole.view(self.shape)

    def boxes(self) -> Iterator[Box]:
        """The boxes that make up the span, in order."""
        return _boxes(self.shape, self.start, self.start + len(self.values), self.start)

    def box(self, offsets: torch.Size | None) -> Tensor:
        """The values of the box at `offsets`, one of `boxes`."""
        (match,) = (box for box in self.boxes() if torch.Size(box.offsets) == offsets)
        return self.values[match.first : match.first + prod(match.sizes)].view(match.sizes)

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


StateTensor = Tensor | TensorSpan
"""What a rank holds of a tensor: the whole, its shard of a DTensor, or a span."""


def local(tensor: StateTensor) -> Tensor:
    """The part that this rank holds."""
    return tensor.to_local() if isinstance(tensor, DTensor | TensorSpan) else tensor


def whole(tensor: StateTensor) -> Tensor:
    """The whole tensor, gathered from every rank that holds a part; for small tensors."""
    return tensor.full_tensor() if isinstance(tensor, DTensor | TensorSpan) else tensor


def mapped(tensor: StateTensor, function: Callable[[Tensor], Tensor]) -> StateTensor:
    """`function`, applied element by element; the result is sharded like `tensor`."""
    return function(tensor) if isinstance(tensor, Tensor) else tensor.mapped(function)


def _chunk(box: Box) -> ChunkStorageMetadata:
    return ChunkStorageMetadata(offsets=torch.Size(box.offsets), sizes=torch.Size(box.sizes))


def _boxes(shape: Sequence[int], begin: int, end: int, origin: int) -> Iterator[Box]:
    """The boxes of elements `begin` to `end` of a tensor of `shape`; the span's values begin at element `origin`."""
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
    """The boxes of a part of one row; `rest` is the shape of the row."""
    number = begin // prod(rest)
    base = number * prod(rest)
    for box in _boxes(rest, begin - base, end - base, origin - base):
        yield Box(offsets=(number, *box.offsets), sizes=(1, *box.sizes), first=box.first)
