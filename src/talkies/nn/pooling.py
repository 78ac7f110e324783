"""One vector from a text of any length, an empty one too."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.nn.precision import Linear32, widened


class AttentionPool(nn.Module):
    """Attention of the mean of all tokens to itself and the tokens. Of an empty text the mean is 0, and the only key.
    All of it in fp32, also under autocast. Source: Mochi's pooled T5 features."""

    def __init__(self, dim: int, heads: int, out: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (Linear32(dim, dim) for _ in range(3))
        self.o = Linear32(dim, out)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x [B, L, dim], valid [B, L] bool (False: padding, not looked at), L >= 0 -> [B, out] fp32."""
        x = widened(x) * valid.unsqueeze(-1)
        mean = x.sum(1, keepdim=True) / valid.sum(1).clamp(min=1)[:, None, None]
        keys, mask = torch.cat((mean, x), 1), F.pad(valid, (1, 0), value=True)
        q, k, v = (self._split(layer(of)) for layer, of in ((self.q, mean), (self.k, keys), (self.v, keys)))
        scores = (q * k).sum(-1, keepdim=True) / q.shape[-1] ** 0.5
        shares = scores.masked_fill(~mask[:, None, :, None], -torch.inf).softmax(2)
        out: Tensor = self.o((shares * v).sum(2).flatten(1))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """[B, T, dim] -> [B, heads, T, dim / heads]."""
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)
