"""The parts of the network, by modality: what lies before and after the layers, and the layers themselves."""

from math import prod

import torch
from torch import Tensor, nn

from talkies.models.mochi.block import layers
from talkies.models.mochi.config import JointShape
from talkies.nn.attention import JointAttention
from talkies.nn.block import modulate
from talkies.nn.embedding import sinusoid, time_embedding
from talkies.nn.learned_rope import LearnedRope
from talkies.nn.patch import PatchEmbedding
from talkies.nn.pooling import AttentionPool
from talkies.nn.precision import LayerNorm32, Linear32, lowered
from talkies.streams.batch import Text

NETWORK_TIME = 1000.0


class TargetPart(nn.Module):
    """The stream that is made, and its references: patch embedding, the time's embedding, positions, layers, the
    attention of all streams, and the final layer."""

    def __init__(self, shape: JointShape) -> None:
        super().__init__()
        width, self.freq_dim = shape.width, shape.freq_dim
        channels = shape.modalities[shape.target].channels
        self.embedding = PatchEmbedding(channels, width, shape.patch)
        self.time_embedding = time_embedding(shape.freq_dim, width)
        self.rope = LearnedRope(len(shape.patch), shape.heads, shape.head_dim)
        self.blocks = layers(shape, shape.target)
        self.attention = JointAttention(shape.heads, shape.head_dim)
        self.final = Final(width, channels * prod(shape.patch), shape.eps)

    def time(self, level: Tensor) -> Tensor:
        """Noise level [B] in [0, 1] -> [B, width] fp32. The network counts upwards to the data, as Mochi does."""
        out: Tensor = self.time_embedding(sinusoid(NETWORK_TIME * (1 - level.double()), self.freq_dim))
        return out


class TextPart(nn.Module):
    """The projection to tokens, the pooled text, layers and, if the text has them, positions."""

    def __init__(self, shape: JointShape, name: str) -> None:
        super().__init__()
        own = shape.modalities[name]
        self.projection = nn.Linear(own.channels, own.width)
        self.pool = AttentionPool(own.channels, shape.pool_heads, shape.width)
        self.rope = None if shape.text_positions == "none" else LearnedRope(1, shape.heads, shape.head_dim)
        self.blocks = layers(shape, name)

    def embedding(self, text: Text) -> Tensor:
        """[B, L, channels] -> [B, L, width] in the matmuls' dtype."""
        layer = self.projection
        out: Tensor = text.cache(layer, lambda: layer(lowered(text.embedding, layer)))
        return out

    def pooled(self, text: Text) -> Tensor:
        """[B, L, channels] -> [B, width of the target] fp32."""
        out: Tensor = text.cache(self.pool, lambda: self.pool(text.embedding, valid(text)))
        return out


class GivenPart(nn.Module):
    """A stream in time that is given: the projection to tokens, positions and layers."""

    def __init__(self, shape: JointShape, name: str) -> None:
        super().__init__()
        own = shape.modalities[name]
        self.embedding = PatchEmbedding(own.channels, own.width, (1,))
        self.rope = LearnedRope(1, shape.heads, shape.head_dim, zero=shape.given_positions == "relative")
        self.blocks = layers(shape, name)


class Final(nn.Module):
    """Tokens to patch values, modulated by scale and shift."""

    def __init__(self, dim: int, out: int, eps: float) -> None:
        super().__init__()
        self.norm = LayerNorm32(dim, eps=eps, elementwise_affine=False)
        self.shift = Linear32(dim, dim)
        self.scale = Linear32(dim, dim)
        self.head = Linear32(dim, out)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x [B, T, dim], condition [B, dim] (SiLU applied) -> [B, T, out] fp32."""
        shift, scale = self.shift(condition).unsqueeze(1), self.scale(condition).unsqueeze(1)
        out: Tensor = self.head(modulate(self.norm(x), shift, scale))
        return out


def valid(text: Text) -> Tensor:
    """[B, L] bool: False past a text's length."""
    return torch.arange(text.embedding.shape[1], device=text.length.device) < text.length[:, None]
