"""A block of CogVideoX (arXiv 2408.06072, section 2.2): text and video are one sequence with the same weights, which
adaLN modulates apart, the video by every latent step's noise level."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.models.cogvideox.config import CogVideoXConfig
from talkies.nn.attention import JointAttention, Projection
from talkies.nn.block import Mlp
from talkies.nn.precision import LayerNorm32, Linear32, widened
from talkies.nn.repeat import repeated
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
        """x [B, N, d] of the video's noise levels -> [B, T, d] of its tokens; of N = 1, which holds for all, x
        itself."""
        return x if x.shape[1] == 1 else repeated(x, self.counts)


class Vectors(NamedTuple):
    """What a norm's result is scaled and shifted by, and the gate of what follows, each [B, N or 1, d] fp32: `video` by
    noise level, as in Times, and `text`."""

    video: tuple[Tensor, Tensor, Tensor]
    text: tuple[Tensor, Tensor, Tensor]


class Norm(nn.Module):
    """LayerNorm, then scale and shift by the noise level: the `modulation` has shift, scale and gate of the video, then
    those of the text. Both are one affine map of normalised tokens, which is small, so that what makes it and what
    applies it may be parts of their own."""

    def __init__(self, dim: int, time_dim: int, *, eps: float) -> None:
        super().__init__()
        self.modulation = Linear32(time_dim, 6 * dim)
        self.norm = LayerNorm32(dim, eps=eps)

    def forward(self, embedded: Tensor) -> Vectors:
        """The noise levels [B, 1 + N, time_dim] of Times -> scale, shift and gate."""
        made = self.modulation(embedded)
        video, text = made[:, 1:].chunk(6, -1)[:3], made[:, :1].chunk(6, -1)[3:]
        return Vectors(video=self._affine(*video), text=self._affine(*text))

    def _affine(self, shift: Tensor, scale: Tensor, gate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(x w + b) (1 + scale) + shift as x scale' + shift'."""
        weight, bias = widened(self.norm.weight), widened(self.norm.bias)
        return weight * (1 + scale), bias * (1 + scale) + shift, gate


def normed(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """x [B, T, d] normalised, scaled and shifted by [B, T or 1, d]; fp32."""
    return torch.addcmul(shift, F.layer_norm(widened(x), x.shape[-1:], eps=eps), scale)


class Attention(nn.Module):
    """x <- x + gate * attention(norm(x)), of video and text over both, with the same weights. Every process holds the
    whole text."""

    def __init__(self, dim: int, heads: int, *, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.projection = Projection(dim, heads, eps=HEAD_EPS, norm=LayerNorm32, per_head=True)
        self.joint = JointAttention(heads, dim // heads)

    def forward(
        self,
        video: Tensor,
        text: Tensor,
        vectors: Vectors,
        times: Times,
        *,
        rope: Rope | None,
        mask: Tensor | None,
        recall: Recall = computed,
    ) -> Pair:
        """video [B, T, d] and text [B, L, d] fp32, `rope` of the video (None: no rotation) and `mask` [B, 1, 1, T + L]
        bool of all keys (None: no padding) -> video and text. `recall` may reuse what was found at an earlier step."""
        scale, shift, gate = (times.by_token(x) for x in vectors.video)
        text_scale, text_shift, text_gate = vectors.text
        given = normed(video, scale, shift, self.eps), normed(text, text_scale, text_shift, self.eps)
        found, text_found = recall(lambda: self._attended(*given, rope, mask))
        return torch.addcmul(video, gate, found), torch.addcmul(text, text_gate, text_found)

    def _attended(self, video: Tensor, text: Tensor, rope: Rope | None, mask: Tensor | None) -> Pair:
        """Each over all of both."""
        projection = self.projection
        heads = {"video": projection.project(video, rope=rope, memory_rope=rope), "text": projection.project(text)}
        found = self.joint(heads, mask, ("text",))
        return projection.output(found["video"]), projection.output(found["text"])


class Feed(nn.Module):
    """x <- x + gate * ffn(norm(x)), of video and text."""

    def __init__(self, dim: int, ffn_dim: int, time_dim: int, *, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.norm = Norm(dim, time_dim, eps=eps)
        self.ffn = Mlp(dim, ffn_dim, dim)

    def forward(self, video: Tensor, text: Tensor, times: Times) -> Pair:
        """video [B, T, d] and text [B, L, d] fp32 -> the same."""
        vectors = self.norm(times.embedded)
        scale, shift, gate = (times.by_token(x) for x in vectors.video)
        text_scale, text_shift, text_gate = vectors.text
        moved = self.ffn(normed(video, scale, shift, self.eps))
        text_moved = self.ffn(normed(text, text_scale, text_shift, self.eps))
        return torch.addcmul(video, gate, moved), torch.addcmul(text, text_gate, text_moved)


class Block(nn.Module):
    """The modulation of a block's attention, and its feed-forward. The attention is apart, so that it can train on its
    own, and a network may do something between the two. The residual is fp32."""

    def __init__(self, config: CogVideoXConfig) -> None:
        super().__init__()
        self.norm = Norm(config.dim, config.time_dim, eps=config.eps)
        self.feed = Feed(config.dim, config.ffn_dim, config.time_dim, eps=config.eps)
