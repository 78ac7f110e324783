"""What lies before and after the blocks, by modality."""

from torch import Tensor, nn

from talkies.models.mirage.config import MirageShape
from talkies.nn.block import modulate
from talkies.nn.embedding import sinusoid, time_embedding
from talkies.nn.learned_rope import LearnedRope
from talkies.nn.patch import PatchEmbedding
from talkies.nn.pooling import AttentionPool
from talkies.nn.precision import LayerNorm32, Linear32, lowered

NETWORK_TIME = 1000.0


class VideoEnds(nn.Module):
    """Patch embedding, the time's embedding, positions and the final layer."""

    def __init__(self, shape: MirageShape) -> None:
        super().__init__()
        width, self.freq_dim = shape.video.width, shape.freq_dim
        self.embedding = PatchEmbedding(shape.video.channels, width, shape.patch)
        self.time_embedding = time_embedding(shape.freq_dim, width)
        self.rope = LearnedRope(len(shape.patch), shape.heads, shape.head_dim)
        self.final = Final(width, shape.video.channels * shape.patch[0] * shape.patch[1] * shape.patch[2], shape.eps)

    def time(self, level: Tensor) -> Tensor:
        """Noise level [B] in [0, 1] -> [B, width] fp32. The network counts upwards to the data, as Mochi does."""
        out: Tensor = self.time_embedding(sinusoid(NETWORK_TIME * (1 - level.double()), self.freq_dim))
        return out


class TextEnds(nn.Module):
    """The projection to tokens, the pooled text and, if the text has them, positions."""

    def __init__(self, shape: MirageShape) -> None:
        super().__init__()
        self.projection = nn.Linear(shape.text.channels, shape.text.width)
        self.pool = AttentionPool(shape.text.channels, shape.pool_heads, shape.video.width)
        self.rope = None
        if shape.text_positions == "learned":
            self.rope = LearnedRope(1, shape.heads, shape.head_dim)

    def embedding(self, text: Tensor) -> Tensor:
        """[B, L, channels] -> [B, L, width] in the matmuls' dtype."""
        out: Tensor = self.projection(lowered(text, self.projection))
        return out


class SoundEnds(nn.Module):
    """The projection to tokens, and positions."""

    def __init__(self, shape: MirageShape) -> None:
        super().__init__()
        self.embedding = PatchEmbedding(shape.sound.channels, shape.sound.width, (1,))
        self.rope = LearnedRope(1, shape.heads, shape.head_dim, zero=shape.sound_positions == "relative")


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
