"""The three collectives of sequence parallelism, with their gradients. They exchange parts of dimension 0."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

Exchange = Callable[[Tensor, ProcessGroup], Tensor]


class _Exchange(torch.autograd.Function):
    """`forth(x, group)`, whose gradient is `back(grad, group)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup, forth: Exchange, back: Exchange) -> Tensor:
        ctx.group, ctx.back = group, back
        return forth(x, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.back(grads[0], ctx.group), None, None, None


def _exchange(x: Tensor, group: ProcessGroup, forth: Exchange, back: Exchange) -> Tensor:
    out: Tensor = _Exchange.apply(x, group, forth, back)  # type: ignore[no-untyped-call]
    return out


def all_to_all(x: Tensor, group: ProcessGroup) -> Tensor:
    """x [ranks, ...], part i for rank i -> [ranks, ...], part i from rank i. It is its own inverse and gradient."""
    return _exchange(x, group, _all_to_all, _all_to_all)


def gather(x: Tensor, group: ProcessGroup) -> Tensor:
    """x [n, ...] -> [ranks * n, ...], the parts of all ranks in order, for a result that each rank uses in a
    computation of its own: the gradients of all ranks add up."""
    return _exchange(x, group, _all_gather, _reduce_scatter)


def gather_same(x: Tensor, group: ProcessGroup) -> Tensor:
    """Like `gather`, for a result that all ranks put into the same loss, so that each already has the whole gradient.
    The gradient is scaled by the number of ranks: each contributes only its own tokens' share to the later average.
    """
    return _exchange(x, group, _all_gather, _own_part)


def _all_to_all(x: Tensor, group: ProcessGroup) -> Tensor:
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    dist.all_to_all_single(out, x.contiguous(), group=group)
    return out


def _all_gather(x: Tensor, group: ProcessGroup) -> Tensor:
    out = x.new_empty((dist.get_world_size(group) * x.shape[0], *x.shape[1:]))
    dist.all_gather_into_tensor(out, x.contiguous(), group=group)
    return out


def _reduce_scatter(x: Tensor, group: ProcessGroup) -> Tensor:
    part = x.new_empty((x.shape[0] // dist.get_world_size(group), *x.shape[1:]))
    dist.reduce_scatter_tensor(part, x.contiguous(), group=group)
    return part


def _own_part(x: Tensor, group: ProcessGroup) -> Tensor:
    size, rank = dist.get_world_size(group), dist.get_rank(group)
    return x.chunk(size)[rank] * size
