"""The DiT block of every modality, and the head after the last block (docs/mova.md: Towers)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.nn.attention import Attention
from talkies.nn.precision import LayerNorm32, Linear32, lowered, widened
from talkies.nn.rope import Rope
from talkies.streams.batch import Cache, Recall, afresh, computed


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift; x [B, T, d], shift and scale [B, 1, d], or [B, T, d] by token."""
    return torch.addcmul(shift, x, 1 + scale)


class Mlp(nn.Sequential):
    """Linear, GELU (tanh), Linear."""

    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__(nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, out))

    def forward(self, input: Tensor) -> Tensor:
        """[..., dim] any float dtype -> [..., out] in the matmuls' dtype."""
        up, act, down = self
        out: Tensor = down(act(up(lowered(input, up))))
        return out


class SwiGlu(nn.Module):
    """down(SiLU(gate x) * up x), without biases (arXiv 2002.05202)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] any float dtype -> [..., dim] in the matmuls' dtype."""
        x = lowered(x, self.gate)
        out: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return out


class Modulated(nn.Module):
    """A module with a learned offset [1, n, dim] to the modulation by time, initialised to N(0, 1) / sqrt(dim)."""

    def __init__(self, n: int, dim: int) -> None:
        super().__init__()
        self.modulation = nn.Parameter(torch.empty(1, n, dim))
        Modulated.reset_parameters(self)

    def reset_parameters(self) -> None:
        """Redraw `modulation`."""
        nn.init.normal_(self.modulation, std=self.modulation.shape[-1] ** -0.5)

    def vectors(self, time: Tensor) -> tuple[Tensor, ...]:
        """time [B or 1, n or 1, dim] fp32 -> n vectors [B, 1, dim] fp32."""
        return (widened(self.modulation) + time).chunk(self.modulation.shape[1], dim=1)


class Block(Modulated):
    """Self-attention, cross-attention to the text, feed-forward; the first and last gated by adaLN. The residual is
    fp32 from the first gate on."""

    def __init__(self, dim: int, ffn_dim: int, heads: int, *, eps: float) -> None:
        super().__init__(6, dim)
        self.norm1 = LayerNorm32(dim, eps=eps, elementwise_affine=False)
        self.self_attn = Attention(dim, heads, eps=eps)
        self.norm3 = LayerNorm32(dim, eps=eps)
        self.cross_attn = Attention(dim, heads, eps=eps, over_text=True)
        self.norm2 = LayerNorm32(dim, eps=eps, elementwise_affine=False)
        self.ffn = Mlp(dim, ffn_dim, dim)

    def forward(
        self,
        x: Tensor,
        text: Tensor,
        time: Tensor,
        rope: Rope,
        mask: Tensor | None = None,
        *,
        recall: Recall = computed,
        of_text: Cache = afresh,
        half: Literal["both", "attention", "feed"] = "both",
    ) -> Tensor:
        """x [B, T, d], text [B, L, d], time [B, 6, d] fp32, mask [B, 1, 1, T] bool (False: padding) -> [B, T, d].
        `recall` may reuse the self-attention of an earlier step, `of_text` the keys and values of the text. `half`:
        only both attentions, or only what follows them, for networks that do something between."""
        shift_sa, scale_sa, gate_sa, shift_ff, scale_ff, gate_ff = self.vectors(time)
        if half != "feed":
            normed = modulate(self.norm1(x), shift_sa, scale_sa)
            attended = recall(lambda: self.self_attn(normed, rope=rope, memory_rope=rope, mask=mask))
            x = torch.addcmul(x, gate_sa, attended)
            x = x + self.cross_attn(self.norm3(x), text, cache=of_text)
        if half == "attention":
            return x
        return torch.addcmul(x, gate_ff, self.ffn(modulate(self.norm2(x), shift_ff, scale_ff)))


class Head(Modulated):
    """Tokens to patch values, modulated by the time embedding itself (the blocks use its projection)."""

    def __init__(self, dim: int, out: int, *, eps: float) -> None:
        super().__init__(2, dim)
        self.norm = LayerNorm32(dim, eps=eps, elementwise_affine=False)
        self.head = Linear32(dim, out)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x [B, T, d], time [B, d] fp32, one per sample -> [B, T, out] fp32."""
        shift, scale = self.vectors(time.unsqueeze(1))
        out: Tensor = self.head(modulate(self.norm(x), shift, scale))
        return out
