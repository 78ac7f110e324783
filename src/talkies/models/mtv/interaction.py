"""Speech and effects of one interval see each other (MTV, section 3.2; released code)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from talkies.models.mtv.config import ControlShape
from talkies.nn.attention import attend
from talkies.nn.block import Mlp, modulate
from talkies.nn.precision import LayerNorm32, Linear32, lowered

KINDS = ("speech", "effects")


class Interaction(nn.Module):
    """Attention over all tokens of an interval, then a feed-forward, both modulated by the noise level. The kinds share
    the weights of matmuls; norms before attention and modulations are each kind's own. All speakers are speech."""

    def __init__(self, shape: ControlShape, time_dim: int) -> None:
        super().__init__()
        self.heads, width = shape.heads, shape.width
        self.time = Linear32(time_dim, 6 * len(KINDS) * width)
        self.norm1 = nn.ModuleDict({kind: LayerNorm32(width) for kind in KINDS})
        self.qkv = nn.Linear(width, 3 * width)
        self.o = nn.Linear(width, width)
        self.norm2 = LayerNorm32(width)
        self.mlp = Mlp(width, shape.mlp, width)

    def forward(self, tracks: Mapping[str, Tensor], kinds: Mapping[str, str], time: Tensor) -> dict[str, Tensor]:
        """Tokens [B, M, K, width] fp32 by track, the kind of each track, and the embedded noise level of every sample
        [B, time_dim] fp32, with SiLU applied -> tokens."""
        vectors = self.vectors(time)
        given = {name: modulate(self.norm1[kinds[name]](x), *vectors[kinds[name]][:2]) for name, x in tracks.items()}
        attended = self._attended(given)
        found = {}
        for name, x in tracks.items():
            _, _, gate, shift, scale, last = vectors[kinds[name]]
            seen = torch.addcmul(x, gate, attended[name])
            found[name] = torch.addcmul(seen, last, self.mlp(modulate(self.norm2(seen), shift, scale)))
        return found

    def vectors(self, time: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Kind -> shift, scale and gate of attention and feed-forward, each [B, 1, 1, width] fp32."""
        parts = self.time(time)[:, None, None].chunk(6 * len(KINDS), -1)
        return {kind: parts[6 * at : 6 * at + 6] for at, kind in enumerate(KINDS)}

    def _attended(self, tracks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the tokens [B, M, K, width] of each track find among those of their interval."""
        x = lowered(torch.cat([*tracks.values()], 2), self.qkv)
        batch, intervals = x.shape[:2]
        q, k, v = torch.unflatten(self.qkv(x).flatten(0, 1), -1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = self.o(attend(q, k, v, None).transpose(1, 2).flatten(2))
        parts = torch.split(torch.unflatten(found, 0, (batch, intervals)), [x.shape[2] for x in tracks.values()], 2)
        return dict(zip(tracks, parts, strict=True))
