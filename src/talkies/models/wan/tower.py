"""A diffusion transformer over one modality: embed, blocks, head (docs/mova.md: Towers)."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from talkies.models.wan.config import TowerConfig
from talkies.nn.block import Block, Head, Mlp
from talkies.nn.embedding import sinusoid, time_embedding, time_projection
from talkies.nn.patch import PatchEmbedding, key_mask, unpatchify
from talkies.nn.precision import widened
from talkies.nn.rope import Rope, axis_dims, tower_rope
from talkies.nn.split import UNDIVIDED, Split
from talkies.streams import Grid
from talkies.streams.batch import Cache, Stream, afresh

NETWORK_TIME = 1000.0


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """A stream inside a tower. Blocks change `tokens` [B, T, d] fp32; the rest is the same for every block.

    `text` [B, L, d]; `time` [B, d] and `modulation` [B, 6, d] fp32; `rope` of the tokens; `mask` [B, 1, 1, keys] bool,
    False where a key is padding (None: no padding); `shape` of the whole sequence, in tokens.
    """

    tokens: Tensor
    text: Tensor
    time: Tensor
    modulation: Tensor
    rope: Rope
    mask: Tensor | None
    shape: tuple[int, ...]


class Tower(nn.Module):
    """Wan's transformer for a patch of any rank; state-dict keys are upstream's (docs/mova.md: Checkpoint keys)."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        axis_dims(config.head_dim, len(config.patch))
        self.split: Split = UNDIVIDED
        dim, patch_out = config.dim, config.out_channels * config.patch_volume
        self.patch_embedding = PatchEmbedding(config.in_channels, dim, config.patch)
        self.text_embedding = Mlp(config.text_dim, dim, dim)
        self.time_embedding = time_embedding(config.freq_dim, dim)
        self.time_projection = time_projection(dim)
        self.blocks = nn.ModuleList(
            Block(dim, config.ffn_dim, config.heads, eps=config.eps) for _ in range(config.layers)
        )
        self.head = Head(dim, patch_out, eps=config.eps)

    def forward(self, stream: Stream, text: Tensor) -> Tensor:
        """The velocity of `stream` alone: [B, out_channels, *shape] fp32."""
        state = self.embed(stream, text)
        tokens = state.tokens
        for block in self.blocks:
            tokens = block(tokens, state.text, state.modulation, state.rope, state.mask)
        return self.velocity(tokens, state)

    def embed(self, stream: Stream, text: Tensor, cache: Cache = afresh) -> Embedded:
        """Tokens of `stream` and the other inputs of the blocks, which see every position of text [B, L, text_dim].
        `cache`: of what is computed of the text.

        Raises ValueError if batch sizes or channels do not match, or if the patch does not divide the grid.
        """
        config, grid = self.config, stream.grid
        parts = [stream.latent] if stream.condition is None else [stream.latent, stream.condition]
        latent = torch.cat(parts, 1) if len(parts) > 1 else stream.latent
        self._check(latent, grid, text, stream.time)
        time = self.time_embedding(sinusoid(NETWORK_TIME * stream.time.double(), config.freq_dim))
        tokens = widened(self.patch_embedding(latent))
        rope = tower_rope(grid, config.patch, config.head_dim, grid.rate / config.patch[0], latent.device)
        mask = None if stream.mask is None else key_mask(stream.mask, grid, config.patch)
        return Embedded(
            tokens=self.split.tokens(tokens),
            text=cache(self.text_embedding, lambda: self.text_embedding(text)),
            time=time,
            modulation=torch.unflatten(self.time_projection(time), 1, (6, -1)),
            rope=self.split.rope(rope),
            mask=self.split.mask(mask, tokens),
            shape=grid.token_shape(config.patch),
        )

    def velocity(self, tokens: Tensor, state: Embedded) -> Tensor:
        """Tokens after the last block -> [B, out_channels, *shape] fp32."""
        values = self.split.whole(self.head(tokens, state.time), prod(state.shape))
        return unpatchify(values, state.shape, self.config.patch)

    def _check(self, latent: Tensor, grid: Grid, text: Tensor, time: Tensor) -> None:
        needed = (self.config.in_channels, *grid.shape)
        if tuple(latent.shape[1:]) != needed:
            raise ValueError(
                f"the tower takes latent and condition channels with the grid's shape, {needed}, but got "
                f"{tuple(latent.shape[1:])}: the codec or the first-frame condition belongs to another model"
            )
        batch = latent.shape[0]
        if text.shape[0] != batch or time.shape != (batch,) or text.shape[-1] != self.config.text_dim:
            raise ValueError(
                f"{batch} latents need text [{batch}, L, {self.config.text_dim}] and one time each, but got text "
                f"{tuple(text.shape)} and time {tuple(time.shape)}"
            )
