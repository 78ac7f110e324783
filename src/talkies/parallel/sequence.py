"""Sequence parallelism: each rank of a group holds a slice of the tokens; attention sees all of them.

Ulysses (arXiv 2309.14509): before attention an all-to-all turns "all heads of some tokens" into "some heads of all
tokens", and another one turns the result back. If the degree does not divide the number of heads, a hybrid:
Ulysses in groups of their greatest common divisor, and keys and values gathered over the rest.
"""

from collections.abc import Sequence
from math import gcd
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import init_device_mesh

from talkies.nn.attention import Attend, Heads, joined
from talkies.nn.rope import Rope
from talkies.nn.split import Split, joined_masks
from talkies.parallel import collectives


class Collectives(Protocol):
    """What ranks exchange: the module `collectives`, or planning's count of it."""

    def all_to_all(self, x: Tensor, group: Any) -> Tensor:
        """As `collectives.all_to_all`."""

    def gather(self, x: Tensor, group: Any) -> Tensor:
        """As `collectives.gather`."""

    def gather_same(self, x: Tensor, group: Any) -> Tensor:
        """As `collectives.gather_same`."""


class Groups(Protocol):
    """Ranks that share a sequence, and this process's place among them. A group has a `size()`."""

    degree: int
    rank: int
    group: Any
    collectives: Collectives

    def hybrid(self, heads: int) -> tuple[Any, Any]:
        """For attention with `heads` heads: the group that exchanges heads for tokens, and the group that gathers keys
        and values (None if the first one is the whole sequence group)."""


def hybrid_degrees(heads: int, degree: int) -> tuple[int, int]:
    """(ranks that exchange heads for tokens, such groups over which keys and values are gathered)."""
    inner = gcd(heads, degree)
    return inner, degree // inner


class SequenceGroups:
    """Groups of `degree` consecutive ranks, among the `world` ranks, that share a sequence.

    Every process of the world must make it, and call `hybrid` with the same head counts in the same order.
    """

    def __init__(self, device: str, world: int, degree: int) -> None:
        self._device, self._world, self.degree = device, world, degree
        self.collectives: Collectives = collectives
        self._whole = init_device_mesh(device, (world // degree, degree), mesh_dim_names=("data", "sequence"))
        self.group: ProcessGroup = self._whole.get_group("sequence")
        self.rank = self._whole.get_local_rank("sequence")
        self._hybrids: dict[int, tuple[ProcessGroup, ProcessGroup | None]] = {}

    def hybrid(self, heads: int) -> tuple[ProcessGroup, ProcessGroup | None]:
        """As in `Groups`."""
        inner, outer = hybrid_degrees(heads, self.degree)
        if inner == self.degree:
            return self.group, None
        if inner not in self._hybrids:
            mesh = init_device_mesh(
                self._device, (self._world // self.degree, outer, inner), mesh_dim_names=("data", "outer", "inner")
            )
            self._hybrids[inner] = (mesh.get_group("inner"), mesh.get_group("outer"))
        return self._hybrids[inner]


class SequenceSplit(Split):
    """Consecutive slices of equal length; the last ones are padded with tokens that are masked as keys."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups

    def tokens(self, x: Tensor) -> Tensor:
        """[B, T, d] -> [B, ceil(T / degree), d], zero past the end; a copy, so that the whole tensor is freed."""
        padding = self._length(x.shape[1]) * self.groups.degree - x.shape[1]
        return self._slice(F.pad(x, (0, 0, 0, padding)), 1).clone()

    def rope(self, rope: Rope) -> Rope:
        """Rotations [..., T, heads, d, 2] -> [..., ceil(T / degree), heads, d, 2], zero past the end."""
        count = rope.rotations.shape[-4]
        padding = self._length(count) * self.groups.degree - count
        return Rope(rotations=self._slice(F.pad(rope.rotations, (0, 0) * 3 + (0, padding)), -4), halves=rope.halves)

    def mask(self, mask: Tensor | None, tokens: Tensor) -> Tensor | None:
        """Which tokens of the padded sequence are keys, [B, 1, 1, degree * ceil(T / degree)]; None if all are."""
        count = tokens.shape[1]
        padding = self._length(count) * self.groups.degree - count
        if not padding:
            return mask
        if mask is None:
            mask = torch.ones(tokens.shape[0], 1, 1, count, dtype=torch.bool, device=tokens.device)
        return F.pad(mask, (0, padding), value=False)

    def joined(self, masks: Sequence[Tensor | None], counts: Sequence[int], whole: int = 0) -> Tensor | None:
        """After the all-to-all, a joined sequence lies process by process, each with its tokens of the split streams;
        then come the whole ones."""
        split, degree = len(masks) - whole, self.groups.degree
        parts = joined_masks(masks[:split], counts[:split], degree), joined_masks(masks[split:], counts[split:], 1)
        return joined_masks(parts, (degree * sum(counts[:split]), sum(counts[split:])), 1)

    def first(self, count: int) -> int:
        """That of its slice."""
        return self.groups.rank * self._length(count)

    def whole(self, x: Tensor, count: int) -> Tensor:
        """[B, ceil(T / degree), d] -> [B, T, d] on every rank, for a loss that all ranks compute alike."""
        gathered = self.groups.collectives.gather_same(x.transpose(0, 1), self.groups.group)
        return gathered.transpose(0, 1)[:, :count]

    def _length(self, count: int) -> int:
        return -(-count // self.groups.degree)

    def _slice(self, x: Tensor, dim: int) -> Tensor:
        return x.chunk(self.groups.degree, dim)[self.groups.rank]


def sequence_attend(attend: Attend, groups: Groups, heads: int) -> Attend:
    """`attend` over the whole sequence, given slices: q, k, v [B, heads, t, D] -> [B, heads, t, D].

    Of `whole` tokens, which every rank holds, a rank takes its own heads and gathers what the others found. Each rank's
    copy is a computation of its own: their gradients add up.
    """
    (exchange, rest), by = groups.hybrid(heads), groups.collectives

    def attend_all(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, whole: int = 0) -> Tensor:
        parts = [torch.split(x, [x.shape[2] - whole, whole], 2) for x in (q, k, v)]
        q, k, v = (_heads_for_tokens(x, exchange, by) for x, _ in parts)
        if rest is not None:
            k, v = (_gather_tokens(x, rest, by) for x in (k, v))
        if not whole:
            return _tokens_for_heads(attend(q, k, v, mask), exchange, by)
        held = Heads(*(x.chunk(exchange.size(), 1)[groups.rank % exchange.size()] for _, x in parts))
        found = attend(*joined((Heads(q, k, v), held)), mask, whole)
        slices, small = torch.split(found, [q.shape[2], whole], 2)
        return torch.cat((_tokens_for_heads(slices, exchange, by), _gather_heads(small, exchange, by)), 2)

    return attend_all


def _heads_for_tokens(x: Tensor, group: Any, by: Collectives) -> Tensor:
    """[B, H, t, D] -> [B, H / n, n t, D]: this rank's heads, the tokens of all n ranks in order."""
    parts = torch.unflatten(x, 1, (group.size(), -1)).movedim(1, 0)
    return by.all_to_all(parts, group).movedim(0, 2).flatten(2, 3)


def _tokens_for_heads(x: Tensor, group: Any, by: Collectives) -> Tensor:
    """The inverse: [B, H / n, n t, D] -> [B, H, t, D]."""
    parts = torch.unflatten(x, 2, (group.size(), -1)).movedim(2, 0)
    return by.all_to_all(parts, group).movedim(0, 1).flatten(1, 2)


def _gather_tokens(x: Tensor, group: Any, by: Collectives) -> Tensor:
    """[B, H, t, D] -> [B, H, n t, D]."""
    return by.gather(x.movedim(2, 0), group).movedim(0, 2)


def _gather_heads(x: Tensor, group: Any, by: Collectives) -> Tensor:
    """[B, H / n, T, D] -> [B, H, T, D]."""
    return by.gather(x.movedim(1, 0), group).movedim(0, 1)


def split_sequence(model: nn.Module, groups: Groups) -> None:
    """Make every module with a `split` hold slices of the tokens, and every `attend` over tokens see all of them: that
    of Attention, and of any module with `attend` and `heads` (one that attends over several streams, text among them).

    Attention `over_text` alone needs no communication: every rank holds the whole text.
    """
    split = SequenceSplit(groups)
    for module in model.modules():
        if hasattr(module, "split"):
            setattr(module, "split", split)  # noqa: B010 (which module has one is known at run time)
        if hasattr(module, "attend") and not getattr(module, "over_text", False):
            attended: Any = module
            attended.attend = sequence_attend(attended.attend, groups, attended.heads)
