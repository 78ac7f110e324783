"""A block of CogVideoX (arXiv 2408.06072, section 2.2): text and video are one sequence with the same weights, which
adaLN modulates apart, the video by every latent step's noise level."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from talkies.nn.attention import JointAttention, Projection
from talkies.nn.block import Mlp, Steer, modulate
from talkies.nn.precision import LayerNorm32, Linear32
from talkies.nn.rope import Rope
from talkies.streams.batch import Recall, computed

HEAD_EPS = 1e-6
Pair = tuple[Tensor, Tensor]
"""Something of the video and of the text."""


class Times(NamedTuple):
    """What modulates. `embedded` [B, 1 + N, D] fp32 (SiLU applied): the noise level of the text, then that of the video
    (N = 1) or of each of its latent steps; `counts`: how many tokens of this process each latent step has, in order."""

    embedded: Tensor
    counts: tuple[int, ...]

    def by_token(self, x: Tensor) -> Tensor:
        """x [B, N, d] of the video's noise levels -> [B, T, d] of its tokens; of N = 1, which holds for all, x itself.
        (An index would say the same, but on a GPU its gradient adds up in any order.)"""
        if x.shape[1] == 1:
            return x
        parts = zip(torch.split(x, 1, 1), self.counts, strict=True)
        return torch.cat([part.expand(-1, count, -1) for part, count in parts if count], 1)


class Norm(nn.Module):
    """LayerNorm, modulated by the noise level, and the gates of what follows: the `modulation` has shift, scale and
    gate of the video, then those of the text."""

    def __init__(self, dim: int, time_dim: int, *, eps: float) -> None:
        super().__init__()
        self.dim = dim
        self.modulation = Linear32(time_dim, 6 * dim)
        self.norm = LayerNorm32(dim, eps=eps)

    def forward(self, video: Tensor, text: Tensor, times: Times) -> tuple[Pair, Pair]:
        """video [B, T, d], text [B, L, d] -> both modulated, fp32, and their gates."""
        made = self.modulation(times.embedded)
        shift, scale, gate = times.by_token(made[:, 1:, : 3 * self.dim]).chunk(3, -1)
        text_shift, text_scale, text_gate = made[:, :1, 3 * self.dim :].chunk(3, -1)
        normed = modulate(self.norm(video), shift, scale), modulate(self.norm(text), text_shift, text_scale)
        return normed, (gate, text_gate)


class Block(nn.Module):
    """Attention over video and text, and feed-forward, both gated by adaLN. The residual is fp32."""

    def __init__(self, dim: int, ffn_dim: int, heads: int, time_dim: int, *, eps: float) -> None:
        super().__init__()
        self.norm1 = Norm(dim, time_dim, eps=eps)
        self.attn = Projection(dim, heads, eps=HEAD_EPS, norm=LayerNorm32, per_head=True)
        self.attention = JointAttention(heads, dim // heads)
        self.norm2 = Norm(dim, time_dim, eps=eps)
        self.ffn = Mlp(dim, ffn_dim, dim)

    @property
    def norm_q(self) -> nn.Module:
        """Of the queries, [..., head_dim] -> fp32."""
        return self.attn.norm_q

    @property
    def norm_k(self) -> nn.Module:
        """Of the keys, [..., head_dim] -> fp32."""
        return self.attn.norm_k

    def forward(
        self,
        video: Tensor,
        text: Tensor,
        times: Times,
        rope: Rope | None,
        mask: Tensor | None = None,
        *,
        recall: Recall = computed,
        steer: Steer | None = None,
    ) -> Pair:
        """video [B, T, d] and text [B, L, d] fp32, `rope` of the video (None: no rotation) and `mask` [B, 1, 1, T + L]
        bool of all keys (None: no padding) -> video and text after the block. `recall` may reuse the attention of an
        earlier step; `steer` changes the video's tokens after it."""
        (normed, text_normed), (gate, text_gate) = self.norm1(video, text, times)
        attended, text_attended = recall(lambda: self._attended(normed, text_normed, rope, mask))
        video, text = torch.addcmul(video, gate, attended), torch.addcmul(text, text_gate, text_attended)
        if steer is not None:
            video = steer(video)
        (moved, text_moved), (gate, text_gate) = self.norm2(video, text, times)
        return torch.addcmul(video, gate, self.ffn(moved)), torch.addcmul(text, text_gate, self.ffn(text_moved))

    def _attended(self, video: Tensor, text: Tensor, rope: Rope | None, mask: Tensor | None) -> Pair:
        """Each over all of both; every process holds the whole text."""
        heads = {"video": self.attn.project(video, rope=rope, memory_rope=rope), "text": self.attn.project(text)}
        found = self.attention(heads, mask, ("text",))
        return self.attn.output(found["video"]), self.attn.output(found["text"])
