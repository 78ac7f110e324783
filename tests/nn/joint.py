"""A module that attends over several streams at once, as the blocks of all-to-all systems do."""

from collections.abc import Sequence

from torch import Tensor, nn

from talkies.nn.attention import Attend, Heads, Projection, attend, joined
from talkies.nn.rope import Rope
from talkies.nn.split import UNDIVIDED, Split

HEADS, HEAD_DIM = 3, 8


class Joint(nn.Module):
    """Attention of several streams of different widths over all of them."""

    def __init__(self, widths: Sequence[int], *, per_head: bool = True) -> None:
        super().__init__()
        inner = HEADS * HEAD_DIM
        self.streams = nn.ModuleList(Projection(d, HEADS, inner=inner, eps=1e-6, per_head=per_head) for d in widths)
        self.heads = HEADS
        self.split: Split = UNDIVIDED
        self.attend: Attend = attend
        for part in self.streams:
            nn.init.uniform_(part.norm_q.weight, 0.5, 1.5)
            nn.init.uniform_(part.norm_k.weight, 0.5, 1.5)

    def sharing(self, xs: Sequence[Tensor], masks: Sequence[Tensor | None]) -> list[Tensor]:
        """`forward` without positions, for a split sequence: all tokens in, all tokens out."""
        held = [self.split.tokens(x) for x in xs]
        keys = [self.split.mask(mask, x) for mask, x in zip(masks, xs, strict=True)]
        results = self(held, [None] * len(xs), self.split.joined(keys, [x.shape[1] for x in held]))
        return [self.split.whole(y, x.shape[1]) for y, x in zip(results, xs, strict=True)]

    def forward(self, xs: Sequence[Tensor], ropes: Sequence[Rope | None], mask: Tensor | None = None) -> list[Tensor]:
        parts: list[Heads] = []
        for part, x, rope in zip(self.streams, xs, ropes, strict=True):
            parts.append(part.project(x, rope=rope, memory_rope=rope))
        results = self.attend(*joined(parts), mask).split([x.shape[1] for x in xs], 2)
        return [part.output(result) for part, result in zip(self.streams, results, strict=True)]
