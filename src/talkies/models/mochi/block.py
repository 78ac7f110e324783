"""A layer of Mochi-1's transformer, by modality: what one stream does before the attention over all, and after it
(Mirage video, arXiv 2506.08279, section 3.4; the equations are those of Mochi's released code)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from talkies.models.mochi.config import JointShape
from talkies.nn.attention import Heads, KeyBias, Projection
from talkies.nn.block import SwiGlu
from talkies.nn.precision import lowered, rms, widened
from talkies.nn.rope import Rope

HEAD_EPS = 1e-5


class Entered(NamedTuple):
    """The `heads` of a stream's tokens, and what `Leave` needs besides: `gates`, three of [B, 1, width] fp32."""

    heads: Heads
    gates: tuple[Tensor, ...]


class Enter(nn.Module):
    """q, k, v = W rms(x) (1 + s). `gates` False: nothing follows the attention. `bias`: the initial addition to the
    logits of these keys (None: there is none)."""

    def __init__(self, shape: JointShape, width: int, *, gates: bool, bias: float | None) -> None:
        super().__init__()
        self.width, self.eps = width, shape.eps
        self.modulation = nn.Linear(shape.width, (4 if gates else 1) * width)
        self.attn = Projection(
            width, shape.heads, inner=shape.inner, eps=HEAD_EPS, per_head=True, bias=False, output=False
        )
        self.key_bias = None if bias is None else KeyBias(shape.heads, bias)

    def forward(self, x: Tensor, condition: Tensor, rope: Rope | None) -> Entered:
        """x [B, T, width] fp32, condition [B, D] fp32 (SiLU applied), rotations of the tokens (None: no positions)."""
        made = widened(self.modulation(lowered(condition, self.modulation))).unsqueeze(1)
        scale, *gates = torch.split(made, self.width, -1)
        heads = self.attn.project(rms(x, self.eps) * (1 + scale), rope=rope, memory_rope=rope)
        return Entered(heads if self.key_bias is None else self.key_bias(heads), tuple(gates))


class Leave(nn.Module):
    """x <- x + tanh(g) rms(o); x <- x + tanh(g') rms(mlp(rms(x) (1 + s')))."""

    def __init__(self, shape: JointShape, width: int) -> None:
        super().__init__()
        self.eps = shape.eps
        self.o = nn.Linear(shape.inner, width)
        self.mlp = SwiGlu(width, shape.hidden(width))

    def forward(self, x: Tensor, attended: Tensor, gates: tuple[Tensor, ...]) -> Tensor:
        """x [B, T, width] fp32 and what its queries found [B, heads, T, head_dim] -> [B, T, width] fp32."""
        gate, scale_mlp, gate_mlp = gates
        x = x + torch.tanh(gate) * rms(self.o(attended.transpose(1, 2).flatten(2)), self.eps)
        return x + torch.tanh(gate_mlp) * rms(self.mlp(rms(x, self.eps) * (1 + scale_mlp)), self.eps)


class Layer(nn.Module):
    """`enter` and `leave` of a modality, each sharded, recomputed and compiled as one. Between them is the attention,
    which is not recomputed. `output` False: others read its tokens, which end here, and `leave` is None."""

    def __init__(self, shape: JointShape, width: int, *, output: bool, bias: float | None) -> None:
        super().__init__()
        self.enter = Enter(shape, width, gates=output, bias=bias)
        self.leave = Leave(shape, width) if output else None


def layers(shape: JointShape, modality: str) -> nn.ModuleList:
    """Those of a modality: of the last one only the target comes out."""
    bias, last = shape.given_bias if modality in shape.given else None, shape.layers - 1
    return nn.ModuleList(
        Layer(shape, shape.modalities[modality].width, output=modality == shape.target or index < last, bias=bias)
        for index in range(shape.layers)
    )
