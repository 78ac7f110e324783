"""Multi-head attention, self or cross, with upstream's parameter names."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.nn.precision import RMSNorm32, lowered
from talkies.nn.rope import Rope, rotate

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)) v: q [B, H, Tq, D], k and v [B, H, Tk, D], mask [B, 1, 1, Tk] bool (False: masked
    out; None: no mask) -> [B, H, Tq, D]. A sample whose keys are all masked out gives 0."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


class Attention(nn.Module):
    """Queries of width `dim` over a memory of width `memory_dim`; RMSNorm over the full width of q and k.

    `attend` may be replaced per instance, for sequence parallelism or another kernel. `over_text`: the memory is text,
    which every process holds in full, rather than tokens, which may be split (nn/split.py).
    """

    def __init__(
        self, dim: int, heads: int, *, memory_dim: int | None = None, eps: float, over_text: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.over_text = heads, over_text
        self.attend: Attend = attend
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(memory_dim or dim, dim)
        self.v = nn.Linear(memory_dim or dim, dim)
        self.o = nn.Linear(dim, dim)
        self.norm_q = RMSNorm32(dim, eps=eps)
        self.norm_k = RMSNorm32(dim, eps=eps)

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
        x = lowered(x, self.q)
        memory = x if memory is None else lowered(memory, self.k)
        v = self._heads(self.v(memory))
        q = self._heads(self.norm_q(self.q(x)), rope).to(v.dtype)
        k = self._heads(self.norm_k(self.k(memory)), memory_rope).to(v.dtype)
        out: Tensor = self.o(self.attend(q, k, v, mask).transpose(1, 2).flatten(2))
        return out

    def _heads(self, x: Tensor, rope: Rope | None = None) -> Tensor:
        """[B, T, dim] -> [B, heads, T, head_dim], rotated if `rope` is given."""
        x = torch.unflatten(x, -1, (self.heads, -1))
        return (x if rope is None else rotate(x, rope)).transpose(1, 2)
