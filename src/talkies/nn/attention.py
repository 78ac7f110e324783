"""Multi-head attention in parts: project, attend, output. Parameters have upstream's names.

One stream uses `Attention`. Streams that attend to all of them are each projected by a `Projection` of its own, and
meet in a `JointAttention`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.nn.precision import LayerNorm32, RMSNorm32, lowered
from talkies.nn.rope import Rope, rotate
from talkies.streams.batch import Cache, afresh

BIAS = 8
"""Dimensions by which heads grow for a bias of keys: kernels take multiples of 8."""


class Attend(Protocol):
    """What `attend` does, in this process or over all that share a sequence. Of the last `whole` tokens every process
    holds all, not a slice."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, whole: int = 0) -> Tensor: ...


class Heads(NamedTuple):
    """Queries, keys and values by head, [B, heads, T, head_dim]."""

    q: Tensor
    k: Tensor
    v: Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, whole: int = 0) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)) v: q [B, H, Tq, D], k and v [B, H, Tk, D], mask [B, 1, 1, Tk] bool (False: masked
    out; None: no mask) -> [B, H, Tq, D]. A sample whose keys are all masked out gives 0. One process holds all tokens,
    so `whole` says nothing here."""
    del whole
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def joined(parts: Sequence[Heads]) -> Heads:
    """The tokens of several streams as one sequence, in order."""
    return Heads(*(torch.cat(tensors, 2) for tensors in zip(*parts, strict=True)))


def biased(heads: Heads, bias: Tensor | None) -> Heads:
    """Heads of head_dim + BIAS, with which attention gives (in the first head_dim dimensions) what `heads` give if
    `bias` [heads] is added to the logits of these keys (None: nothing is added). All streams that attend together must
    have gone through it.

    One more dimension carries the bias. As a float mask it would cost flash kernels, and its gradient would have the
    size of all logits.
    """
    q, k, v = heads
    dim = q.shape[-1]
    carried = torch.zeros_like(k[..., :1])
    if bias is not None:
        carried = carried + (bias * dim**0.5).to(k.dtype)[:, None, None]
    q = torch.cat((q, torch.ones_like(q[..., :1])), -1) * (1 + BIAS / dim) ** 0.5  # attention divides by the new width
    rest = (0, BIAS - 1)
    return Heads(F.pad(q, rest), F.pad(torch.cat((k, carried), -1), rest), F.pad(v, (0, BIAS)))


class KeyBias(nn.Module):
    """A learned addition to the logits of a stream's keys, one number per head, `initial` at first: far below 0, a new
    stream hardly changes what the others attend to."""

    def __init__(self, heads: int, initial: float) -> None:
        super().__init__()
        self.initial = initial
        self.bias = nn.Parameter(torch.empty(heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Back to `initial`."""
        nn.init.constant_(self.bias, self.initial)

    def forward(self, heads: Heads) -> Heads:
        """As in `biased`."""
        return biased(heads, self.bias)


class Projection(nn.Module):
    """Tokens of width `dim` to queries, a memory of width `memory_dim` to keys and values, and results back to tokens
    (`output` False: they are not needed, and `o` is None). The `heads` heads are `inner` wide together (None: `dim`).
    Norms of q and k, `norm`, over the full width, or over each head (`per_head`)."""

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        memory_dim: int | None = None,
        inner: int | None = None,
        eps: float,
        norm: type[RMSNorm32] | type[LayerNorm32] = RMSNorm32,
        per_head: bool = False,
        bias: bool = True,
        output: bool = True,
    ) -> None:
        super().__init__()
        width = inner or dim
        self.heads, self.per_head = heads, per_head
        self.q = nn.Linear(dim, width, bias=bias)
        self.k = nn.Linear(memory_dim or dim, width, bias=bias)
        self.v = nn.Linear(memory_dim or dim, width, bias=bias)
        self.o = nn.Linear(width, dim) if output else None
        self.norm_q = norm(width // heads if per_head else width, eps=eps)
        self.norm_k = norm(width // heads if per_head else width, eps=eps)

    def project(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        rope: Rope | None = None,
        memory_rope: Rope | None = None,
        cache: Cache = afresh,
    ) -> Heads:
        """x [B, Tq, dim] (memory [B, Tk, memory_dim]; None: x itself) -> q, k and v in the matmuls' dtype. `rope`
        rotates q, `memory_rope` k. `cache`: of the memory's keys and values."""
        x = lowered(x, self.q)
        memory = x if memory is None else lowered(memory, self.k)
        v = cache(self.v, lambda: self._split(self.v(memory)).transpose(1, 2))
        q = self._normed(self.q(x), self.norm_q, rope).to(v.dtype)
        k = cache(self.k, lambda: self._normed(self.k(memory), self.norm_k, memory_rope).to(v.dtype))
        return Heads(q, k, v)

    def output(self, attended: Tensor) -> Tensor:
        """[B, heads, T, head_dim] -> [B, T, dim] in the matmuls' dtype."""
        assert self.o is not None, "a projection without output"
        out: Tensor = self.o(attended.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """[B, T, width] -> [B, T, heads, head_dim]."""
        return torch.unflatten(x, -1, (self.heads, -1))

    def _normed(self, x: Tensor, norm: RMSNorm32 | LayerNorm32, rope: Rope | None) -> Tensor:
        """[B, T, width] -> [B, heads, T, head_dim], normalised, and rotated if `rope` is given."""
        x = norm(self._split(x)) if self.per_head else self._split(norm(x))
        return (x if rope is None else rotate(x, rope)).transpose(1, 2)


class Attention(Projection):
    """Attention of one stream over itself or over a memory.

    `attend` may be replaced per instance, for sequence parallelism or another kernel. `over_text`: the memory is text,
    which every process holds in full, rather than tokens, which may be split (nn/split.py).
    """

    def __init__(
        self, dim: int, heads: int, *, memory_dim: int | None = None, eps: float, over_text: bool = False
    ) -> None:
        super().__init__(dim, heads, memory_dim=memory_dim, eps=eps)
        self.over_text = over_text
        self.attend: Attend = attend

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        rope: Rope | None = None,
        memory_rope: Rope | None = None,
        mask: Tensor | None = None,
        cache: Cache = afresh,
    ) -> Tensor:
        """x [B, Tq, dim] (memory [B, Tk, memory_dim]; None: x itself) -> [B, Tq, dim] in the matmuls' dtype.

        `rope` rotates q, `memory_rope` k; `mask` as in `attend`, `cache` as in `project`.
        """
        heads = self.project(x, memory, rope=rope, memory_rope=memory_rope, cache=cache)
        return self.output(self.attend(*heads, mask))


class JointAttention(nn.Module):
    """Attention of several streams over all of them, by heads of `head_dim`, which each stream has from a projection of
    its own. `attend` may be replaced, as in Attention."""

    def __init__(self, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.attend: Attend = attend

    def forward(
        self, parts: Mapping[str, Heads], mask: Tensor | None, whole: Collection[str] = ()
    ) -> dict[str, Tensor]:
        """The heads of every stream -> what its queries found, [B, heads, T, head_dim]. `mask` [B, 1, 1, all keys] as
        in `attend`. Heads of some streams may be `biased`. The `whole` streams, held by every process, come last."""
        counts = {name: part.q.shape[2] for name, part in parts.items()}
        heads = list(parts.values())
        if any(self._wide(part) for part in heads):
            heads = [part if self._wide(part) else biased(part, None) for part in heads]
        found = self.attend(*joined(heads), mask, sum(counts[name] for name in whole))[..., : self.head_dim]
        return dict(zip(parts, torch.split(found, [*counts.values()], 2), strict=True))

    def _wide(self, part: Heads) -> bool:
        return part.q.shape[-1] > self.head_dim
