"""The three exchanges of sequence parallelism, with their gradients. Dimension 0 is what is exchanged."""

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
    """x [ranks, ...], part i for rank i -> [ranks, ...], part i from rank i: its own inverse, so its own gradient."""
    return _exchange(x, group, _all_to_all, _all_to_all)


def gather(x: Tensor, group: ProcessGroup) -> Tensor:
    """x [n, ...] -> [ranks * n, ...], the parts of all ranks in order, for what the ranks use differently: every one
    goes on with its own computation, so the gradients add up."""
    return _exchange(x, group, _all_gather, _reduce_scatter)


def gather_same(x: Tensor, group: ProcessGroup) -> Tensor:
    """As `gather`, for what all ranks put into the same loss: each has the whole gradient already. It is scaled by the
    number of ranks, because gradients are averaged over all of them and each brings the share of its own tokens only.
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
