"""The two-way Bridge between the towers (docs/mova.md: Bridge)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from talkies.models.mova.config import MovaShape
from talkies.models.wan.config import TowerConfig
from talkies.nn.attention import Attention
from talkies.nn.precision import LayerNorm32
from talkies.nn.rope import Rope, aligned_rope
from talkies.nn.split import UNDIVIDED, Split
from talkies.streams import Grid

Ropes = Mapping[str, Mapping[str, Rope]]


class Conditioner(nn.Module):
    """Cross-attention from one modality to the other; LayerNorm on the memory only."""

    def __init__(self, dim: int, memory_dim: int, heads: int, *, eps: float) -> None:
        super().__init__()
        self.y_norm = LayerNorm32(memory_dim, eps=eps)
        self.inner = Attention(dim, heads, memory_dim=memory_dim, eps=eps)

    def forward(self, x: Tensor, memory: Tensor, ropes: tuple[Rope, Rope], mask: Tensor | None) -> Tensor:
        """x [B, Tq, dim], memory [B, Tk, memory_dim], ropes of both, mask [B, 1, 1, Tk] -> [B, Tq, dim]."""
        rope, memory_rope = ropes
        out: Tensor = self.inner(x, self.y_norm(memory), rope=rope, memory_rope=memory_rope, mask=mask)
        return out


class Bridge(nn.Module):
    """One conditioner per direction and layer, applied before the towers' blocks of the same index.

    No gate, no zero initialisation, no normalised query: the Bridge starts random, so even the untrained joint model
    differs from its two towers (MOVA, sections 4.1 and 4.4).
    """

    def __init__(self, shape: MovaShape) -> None:
        super().__init__()
        layers, eps = shape.bridge.layers, shape.bridge.eps
        video, audio = shape.video, shape.audio
        if layers > min(video.layers, audio.layers):
            raise ValueError(
                f"bridge.layers is {layers}, but it must not exceed the depth of either tower, {video.layers} (video) "
                f"and {audio.layers} (audio)"
            )
        self.towers: dict[str, TowerConfig] = {"video": video, "audio": audio}
        self.rate = shape.bridge.rate
        self.split: Split = UNDIVIDED
        self.audio_to_video_conditioners = nn.ModuleList(
            Conditioner(video.dim, audio.dim, video.heads, eps=eps) for _ in range(layers)
        )
        self.video_to_audio_conditioners = nn.ModuleList(
            Conditioner(audio.dim, video.dim, audio.heads, eps=eps) for _ in range(layers)
        )

    def __len__(self) -> int:
        """Number of layers."""
        return len(self.audio_to_video_conditioners)

    def ropes(self, grids: Mapping[str, Grid], device: torch.device) -> Ropes:
        """`ropes[q][m]`: positions of modality m for attention with q's heads, on one timeline for both."""
        towers = self.towers
        return {
            q: {
                m: self.split.rope(aligned_rope(grid, towers[m].patch, towers[q].head_dim, self.rate, device))
                for m, grid in grids.items()
            }
            for q in towers
        }

    def forward(
        self, layer: int, tokens: Mapping[str, Tensor], ropes: Ropes, masks: Mapping[str, Tensor | None]
    ) -> dict[str, Tensor]:
        """v + A2V(v, a) and a + V2A(a, v), both from the tokens [B, T, d] before this layer."""
        video, audio = tokens["video"], tokens["audio"]
        to_video, to_audio = self.audio_to_video_conditioners[layer], self.video_to_audio_conditioners[layer]
        video_ropes = (ropes["video"]["video"], ropes["video"]["audio"])
        audio_ropes = (ropes["audio"]["audio"], ropes["audio"]["video"])
        return {
            "video": video + to_video(video, audio, video_ropes, masks["audio"]),
            "audio": audio + to_audio(audio, video, audio_ropes, masks["video"]),
        }
