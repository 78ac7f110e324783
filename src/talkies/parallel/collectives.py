"""The three exchanges of sequence parallelism, with their gradients. Dimension 0 is what is exchanged."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup


class _AllToAll(torch.autograd.Function):
    """Part i of rank j becomes part j of rank i: its own inverse, so its own gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _all_to_all(x, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _all_to_all(grads[0], ctx.group), None


class _Gather(torch.autograd.Function):
    """Parts of all ranks in order. Every rank goes on with its own computation, so the gradients add up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _all_gather(x, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        size = dist.get_world_size(ctx.group)
        part = grad.new_empty((grad.shape[0] // size, *grad.shape[1:]))
        dist.reduce_scatter_tensor(part, grad.contiguous(), group=ctx.group)
        return part, None


class _GatherSame(torch.autograd.Function):
    """Parts of all ranks in order, where every rank goes on with the *same* computation: each has the whole gradient
    already. It is scaled by the number of ranks, because gradients are averaged over all of them and each brings the
    share of its own tokens only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _all_gather(x, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        size, rank = dist.get_world_size(ctx.group), dist.get_rank(ctx.group)
        return grads[0].chunk(size)[rank] * size, None


def all_to_all(x: Tensor, group: ProcessGroup) -> Tensor:
    """x [ranks, ...], part i for rank i -> [ranks, ...], part i from rank i."""
    out: Tensor = _AllToAll.apply(x, group)  # type: ignore[no-untyped-call]
    return out


def gather(x: Tensor, group: ProcessGroup) -> Tensor:
    """x [n, ...] -> [ranks * n, ...]; for what the ranks use differently."""
    out: Tensor = _Gather.apply(x, group)  # type: ignore[no-untyped-call]
    return out


def gather_same(x: Tensor, group: ProcessGroup) -> Tensor:
    """x [n, ...] -> [ranks * n, ...]; for what all ranks put into the same loss."""
    out: Tensor = _GatherSame.apply(x, group)  # type: ignore[no-untyped-call]
    return out


def _all_to_all(x: Tensor, group: ProcessGroup) -> Tensor:
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    dist.all_to_all_single(out, x.contiguous(), group=group)
    return out


def _all_gather(x: Tensor, group: ProcessGroup) -> Tensor:
    out = x.new_empty((dist.get_world_size(group) * x.shape[0], *x.shape[1:]))
    dist.all_gather_into_tensor(out, x.contiguous(), group=group)
    return out
