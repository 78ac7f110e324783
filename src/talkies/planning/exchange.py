"""Sequence parallelism of one rank on the meta device: what it exchanges has the right shape, is counted, and goes
nowhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from talkies.nn.attention import Attend
from talkies.parallel.sequence import Collectives, hybrid_degrees, split_sequence
from talkies.planning.meter import Meter

SPLIT = {"split", "attend"}
"""What `split_sequence` sets."""


@dataclass(frozen=True)
class Ring:
    """A group of `ranks`."""

    ranks: int

    def size(self) -> int:
        """Its ranks."""
        return self.ranks


class Counted:
    """The collectives of one rank, for ring algorithms: of N bytes over n ranks an all-to-all and a reduce-scatter send
    (n - 1) / n N, an all-gather n - 1 times what the rank has."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def all_to_all(self, x: Tensor, group: Ring) -> Tensor:
        """x [ranks, ...] -> the same shape."""
        sent = _bytes(x) * (group.ranks - 1) // group.ranks
        return _sent(x, x.shape, self.meter, ("exchange", sent, sent))

    def gather(self, x: Tensor, group: Ring) -> Tensor:
        """x [n, ...] -> [ranks * n, ...]."""
        sent = _bytes(x) * (group.ranks - 1)
        return _sent(x, (group.ranks * x.shape[0], *x.shape[1:]), self.meter, ("gather", sent, sent))

    def gather_same(self, x: Tensor, group: Ring) -> Tensor:
        """The same; every rank has the whole gradient already."""
        sent = _bytes(x) * (group.ranks - 1)
        return _sent(x, (group.ranks * x.shape[0], *x.shape[1:]), self.meter, ("gather", sent, 0))


class MetaGroups:
    """The first rank of a sequence group."""

    def __init__(self, degree: int, collectives: Counted) -> None:
        self.degree, self.rank, self.group = degree, 0, Ring(degree)
        self.collectives: Collectives = collectives

    def hybrid(self, heads: int) -> tuple[Ring, Ring | None]:
        """As in `SequenceGroups`."""
        inner, outer = hybrid_degrees(heads, self.degree)
        return Ring(inner), Ring(outer) if outer > 1 else None


@contextmanager
def divided(model: nn.Module, degree: int, meter: Meter) -> Iterator[dict[int, int]]:
    """Within the block `model` is one of `degree` ranks that share a sequence. Yields what is found while it runs:
    queries of a rank -> the fewest ranks that exchange heads for them."""
    modules: list[Any] = [*model.modules()]
    before = [{key: value for key, value in vars(module).items() if key in SPLIT} for module in modules]
    found: dict[int, int] = {}
    if degree > 1:
        split_sequence(model, MetaGroups(degree, Counted(meter)))
    for module, own in zip(modules, before, strict=True):
        if "attend" in own and module.attend is not own["attend"]:
            module.attend = _noting(module.attend, module.heads, degree, found)
    try:
        yield found
    finally:
        for module, own in zip(modules, before, strict=True):
            vars(module).update(own)


def _noting(attend: Attend, heads: int, degree: int, found: dict[int, int]) -> Attend:
    def noting(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, whole: int = 0) -> Tensor:
        inner, tokens = hybrid_degrees(heads, degree)[0], q.shape[2]
        found[tokens] = min(inner, found.get(tokens, inner))
        return attend(q, k, v, mask, whole)

    return noting


def _bytes(x: Tensor) -> int:
    return x.numel() * x.element_size()


class _Sent(torch.autograd.Function):
    """An empty tensor in place of what is received, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: torch.Size, meter: Meter, sent: tuple[str, int, int]) -> Tensor:
        kind, forth, back = sent
        ctx.shape, ctx.meter, ctx.kind, ctx.back = x.shape, meter, kind, back
        meter.count(kind, forth)
        return x.new_empty(shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        ctx.meter.count(ctx.kind, ctx.back)
        return grads[0].new_empty(ctx.shape), None, None, None


def _sent(x: Tensor, shape: tuple[int, ...], meter: Meter, sent: tuple[str, int, int]) -> Tensor:
    out: Tensor = _Sent.apply(x, shape, meter, sent)  # type: ignore[no-untyped-call]
    return out
