"""The block of Mochi-1 over any set of streams: one attention over all of them, all else by modality (Mirage video,
section 3.4; the equations are those of Mochi's released code)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from talkies.models.mirage.config import MirageShape
from talkies.nn.attention import Attend, Heads, KeyBias, Projection, attend, biased, joined
from talkies.nn.block import SwiGlu
from talkies.nn.precision import lowered, rms, widened
from talkies.nn.rope import Rope
from talkies.streams.batch import Recall, computed

MODALITY = {"video": "video", "reference": "video", "text": "text", "sound": "sound"}
"""Stream -> the modality whose weights it has."""
HEAD_EPS = 1e-5


class Part(nn.Module):
    """A modality's part of a block: modulation, projections and SwiGLU. `output` False: its tokens are read by the
    others, and not changed."""

    def __init__(self, shape: MirageShape, width: int, *, output: bool, bias: float | None) -> None:
        super().__init__()
        self.eps = shape.eps
        self.modulation = nn.Linear(shape.video.width, (4 if output else 1) * width)
        self.attn = Projection(
            width, shape.heads, inner=shape.inner, eps=HEAD_EPS, per_head=True, bias=False, output=output
        )
        self.mlp = SwiGlu(width, shape.hidden(width)) if output else None
        self.key_bias = None if bias is None else KeyBias(shape.heads, bias)

    def vectors(self, condition: Tensor) -> tuple[Tensor, ...]:
        """condition [B, D] -> scale, gate, scale, gate (without output: scale), each [B, 1, width] fp32."""
        made = widened(self.modulation(lowered(condition, self.modulation))).unsqueeze(1)
        return made.chunk(1 if self.mlp is None else 4, -1)

    def read(self, x: Tensor, scale: Tensor, rope: Rope | None) -> Heads:
        """x [B, T, width] -> q, k and v, [B, heads, T, head_dim]."""
        return self.attn.project(rms(x, self.eps) * (1 + scale), rope=rope, memory_rope=rope)

    def write(self, x: Tensor, attended: Tensor, gate: Tensor, scale_mlp: Tensor, gate_mlp: Tensor) -> Tensor:
        """x [B, T, width] and what its queries found [B, heads, T, head_dim] -> x, changed."""
        assert self.mlp is not None, "a part without output"
        x = x + torch.tanh(gate) * rms(self.attn.output(attended), self.eps)
        return x + torch.tanh(gate_mlp) * rms(self.mlp(rms(x, self.eps) * (1 + scale_mlp)), self.eps)


class JointBlock(nn.Module):
    """x <- x + tanh(g) rms(attention(rms(x) (1 + s))); x <- x + tanh(g') rms(mlp(rms(x) (1 + s'))). Of the `last`
    block only the video comes out."""

    def __init__(self, shape: MirageShape, modalities: Sequence[str], *, last: bool) -> None:
        super().__init__()
        self.last, self.heads, self.head_dim = last, shape.heads, shape.head_dim
        self.biased = shape.sound_bias is not None and "sound" in modalities
        self.attend: Attend = attend
        for name in modalities:
            bias = shape.sound_bias if name == "sound" else None
            output = name == "video" or not last
            self.add_module(name, Part(shape, shape.modality(name).width, output=output, bias=bias))

    def forward(
        self,
        tokens: Mapping[str, Tensor],
        conditions: Mapping[str, Tensor],
        ropes: Mapping[str, Rope | None],
        mask: Tensor | None,
        *,
        recall: Recall = computed,
    ) -> dict[str, Tensor]:
        """By stream: tokens [B, T, width] fp32, conditions [B, D] (SiLU applied), rotations (None: no positions).
        `mask` [B, 1, 1, all tokens] bool, False where a key is masked out; `recall` may reuse the attention of an
        earlier step. Returns the tokens, those of the last block without the streams that are only read."""
        parts = {name: self.part(name) for name in tokens}
        vectors = {name: part.vectors(conditions[name]) for name, part in parts.items()}

        def attended() -> Tensor:
            heads = [self._read(part, tokens[name], vectors[name][0], ropes[name]) for name, part in parts.items()]
            return self.attend(*joined(heads), mask)[..., : self.head_dim]

        found = recall(attended)
        by_stream = dict(zip(tokens, found.split([x.shape[1] for x in tokens.values()], 2), strict=True))
        written = ("video",) if self.last else tuple(tokens)
        return {name: parts[name].write(tokens[name], by_stream[name], *vectors[name][1:]) for name in written}

    def part(self, stream: str) -> Part:
        """The part with the weights of `stream`."""
        found: Part = getattr(self, MODALITY[stream])
        return found

    def _read(self, part: Part, x: Tensor, scale: Tensor, rope: Rope | None) -> Heads:
        heads = part.read(x, scale, rope)
        if not self.biased:
            return heads
        return biased(heads, None) if part.key_bias is None else part.key_bias(heads)
