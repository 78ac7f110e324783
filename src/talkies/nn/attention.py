"""Multi-head attention in parts: project, attend, output. Parameters have upstream's names.

One stream uses `Attention`. A block that attends over several streams at once projects each by a `Projection` of its
own and joins the results (`joined`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.nn.precision import RMSNorm32, lowered
from talkies.nn.rope import Rope, rotate

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


class Heads(NamedTuple):
    """Queries, keys and values by head, [B, heads, T, head_dim]."""

    q: Tensor
    k: Tensor
    v: Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)) v: q [B, H, Tq, D], k and v [B, H, Tk, D], mask [B, 1, 1, Tk] bool (False: masked
    out; None: no mask) -> [B, H, Tq, D]. A sample whose keys are all masked out gives 0."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def joined(parts: Sequence[Heads]) -> Heads:
    """The tokens of several streams as one sequence, in order."""
    return Heads(*(torch.cat(tensors, 2) for tensors in zip(*parts, strict=True)))


class Projection(nn.Module):
    """Tokens of width `dim` to queries, a memory of width `memory_dim` to keys and values, and results back to tokens.
    The `heads` heads are `inner` wide together (None: `dim`). RMSNorm of q and k over the full width, or over each head
    (`per_head`)."""

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        memory_dim: int | None = None,
        inner: int | None = None,
        eps: float,
        per_head: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        width = inner or dim
        self.heads, self.per_head = heads, per_head
        self.q = nn.Linear(dim, width, bias=bias)
        self.k = nn.Linear(memory_dim or dim, width, bias=bias)
        self.v = nn.Linear(memory_dim or dim, width, bias=bias)
        self.o = nn.Linear(width, dim)
        self.norm_q = RMSNorm32(width // heads if per_head else width, eps=eps)
        self.norm_k = RMSNorm32(width // heads if per_head else width, eps=eps)

    def project(
        self, x: Tensor, memory: Tensor | None = None, *, rope: Rope | None = None, memory_rope: Rope | None = None
    ) -> Heads:
        """x [B, Tq, dim] (memory [B, Tk, memory_dim]; None: x itself) -> q, k and v in the matmuls' dtype. `rope`
        rotates q, `memory_rope` k."""
        x = lowered(x, self.q)
        memory = x if memory is None else lowered(memory, self.k)
        v = self._split(self.v(memory)).transpose(1, 2)
        q = self._normed(self.q(x), self.norm_q, rope).to(v.dtype)
        k = self._normed(self.k(memory), self.norm_k, memory_rope).to(v.dtype)
        return Heads(q, k, v)

    def output(self, attended: Tensor) -> Tensor:
        """[B, heads, T, head_dim] -> [B, T, dim] in the matmuls' dtype."""
        out: Tensor = self.o(attended.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """[B, T, width] -> [B, T, heads, head_dim]."""
        return torch.unflatten(x, -1, (self.heads, -1))

    def _normed(self, x: Tensor, norm: RMSNorm32, rope: Rope | None) -> Tensor:
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
    ) -> Tensor:
        """x [B, Tq, dim] (memory [B, Tk, memory_dim]; None: x itself) -> [B, Tq, dim] in the matmuls' dtype.

        `rope` rotates q, `memory_rope` k; `mask` as in `attend`.
        """
        heads = self.project(x, memory, rope=rope, memory_rope=memory_rope)
        return self.output(self.attend(*heads, mask))
