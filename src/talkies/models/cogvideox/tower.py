"""CogVideoX's transformer (arXiv 2408.06072): embed, blocks, final layer. Its attention is a part of its own."""

from dataclasses import dataclass, replace
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.models.cogvideox.block import Attention, Block, Times
from talkies.models.cogvideox.config import CogVideoXConfig
from talkies.models.cogvideox.positions import PositionTable, rope, sincos
from talkies.nn.block import modulate
from talkies.nn.embedding import sinusoid, time_embedding
from talkies.nn.patch import PatchEmbedding, key_mask, unpatchify
from talkies.nn.precision import LayerNorm32, Linear32, lowered, widened
from talkies.nn.rope import Rope
from talkies.nn.split import UNDIVIDED, Split
from talkies.streams import Grid
from talkies.streams.batch import Cache, Recall, Stream, afresh, computed

STEPS = 1000.0
"""Of the noise schedule, which the network counts from 0: level t in [0, 1] is step 1000 t - 1, and 0 is clean."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """A stream inside the network. Blocks change `tokens` [B, T, d] and `text` [B, L, d] fp32; the rest is the same for
    every block.

    `times`, `rope` and `mask` as Block takes them; `shape` of the whole sequence, in tokens.
    """

    tokens: Tensor
    text: Tensor
    times: Times
    rope: Rope | None
    mask: Tensor | None
    shape: tuple[int, ...]


class Final(nn.Module):
    """Tokens to patch values, modulated by the noise level."""

    def __init__(self, dim: int, time_dim: int, out: int, *, eps: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm32(dim, eps=eps)
        self.norm2 = LayerNorm32(dim, eps=eps)
        self.modulation = Linear32(time_dim, 2 * dim)
        self.head = Linear32(dim, out)

    def forward(self, state: Embedded) -> Tensor:
        """The tokens after the last block, [B, T, d] -> [B, T, out] fp32."""
        shift, scale = state.times.by_token(self.modulation(state.times.embedded[:, 1:])).chunk(2, -1)
        out: Tensor = self.head(modulate(self.norm2(self.norm1(state.tokens)), shift, scale))
        return out


class Trunk(nn.Module):
    """All of the network but its attention.

    A stream without condition, of a network whose `in_channels` leave room for one, is given zeros, as released MTV
    does.
    """

    def __init__(self, config: CogVideoXConfig) -> None:
        super().__init__()
        if config.patch[0] != 1:
            raise ValueError(f"cogvideox: a patch folds one latent step, but it is {config.patch}")
        if config.in_channels < config.out_channels:
            raise ValueError(
                f"cogvideox: {config.in_channels} in_channels do not hold a latent of {config.out_channels} channels"
            )
        self.config = config
        self.split: Split = UNDIVIDED
        dim, time_dim, eps = config.dim, config.time_dim, config.eps
        self.patch_embedding = PatchEmbedding(config.in_channels, dim, config.patch, framewise=True)
        self.text_embedding = nn.Linear(config.text_dim, dim)
        self.positions = PositionTable(config) if config.positions == "learned" else None
        self.time_embedding = time_embedding(dim, time_dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final = Final(dim, time_dim, config.out_channels * config.patch_volume, eps=eps)

    def embed(self, stream: Stream, text: Tensor, cache: Cache = afresh) -> Embedded:
        """The input of the first block. Every position of text [B, L, text_dim] is attended to; it is modulated by the
        sample's noise level, the highest of its latent steps. `cache`: of what is computed of the text alone.

        Raises ValueError if batch sizes or channels do not match, if the patch does not divide the grid, or if learned
        positions do not reach that far.
        """
        latent, grid = self._input(stream), stream.grid
        self._check(latent, grid, text, stream.time)
        shape, layer = grid.token_shape(self.config.patch), self.text_embedding
        words = widened(cache(layer, lambda: layer(lowered(text, layer))))
        tokens, words = self._placed(widened(self.patch_embedding(latent)), words, shape)
        rotations = None if self.config.positions == "sincos" else rope(self.config, shape, latent.device)
        held = self.split.tokens(tokens)
        mask = None if stream.mask is None else key_mask(stream.mask, grid, self.config.patch)
        return Embedded(
            tokens=held,
            text=words,
            times=Times(embedded=self._time(stream.time), counts=self._counts(shape)),
            rope=None if rotations is None else self.split.rope(rotations),
            mask=self.split.joined((self.split.mask(mask, tokens), None), (held.shape[1], words.shape[1]), 1),
            shape=shape,
        )

    def attended(self, index: int, state: Embedded, attention: nn.Module, *, recall: Recall = computed) -> Embedded:
        """After the `attention` of block `index`, of which `recall` may reuse what an earlier step found."""
        vectors = self._block(index).norm(state.times.embedded)
        inputs = (state.tokens, state.text, vectors, state.times)
        tokens, text = attention(*inputs, rope=state.rope, mask=state.mask, recall=recall)
        return replace(state, tokens=tokens, text=text)

    def fed(self, index: int, state: Embedded) -> Embedded:
        """After the feed-forward of block `index`."""
        tokens, text = self._block(index).feed(state.tokens, state.text, state.times)
        return replace(state, tokens=tokens, text=text)

    def predicted(self, state: Embedded) -> Tensor:
        """After the last block -> [B, out_channels, *shape] fp32."""
        values = self.split.whole(self.final(state), prod(state.shape))
        return unpatchify(values, state.shape, self.config.patch, channel_slowest=True)

    def _block(self, index: int) -> Block:
        block = self.blocks[index]
        assert isinstance(block, Block)
        return block

    def _input(self, stream: Stream) -> Tensor:
        """The latent and its condition, [B, in_channels, *shape]."""
        latent, room = stream.latent, self.config.in_channels - self.config.out_channels
        if stream.condition is not None:
            return torch.cat((latent, stream.condition), 1)
        return torch.cat((latent, latent.new_zeros(latent.shape[0], room, *latent.shape[2:])), 1) if room else latent

    def _placed(self, tokens: Tensor, text: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """With the positions that are added."""
        if self.config.positions == "sincos":
            return tokens + sincos(self.config, shape, tokens.device), text
        return (tokens, text) if self.positions is None else self.positions(tokens, text, shape)

    def _time(self, level: Tensor) -> Tensor:
        """Noise levels [B] or [B, steps] in [0, 1] -> [B, 1 + 1 or steps, D] fp32 with SiLU applied: the highest, then
        all."""
        levels = level.reshape(level.shape[0], -1).double()
        levels = torch.cat((levels.amax(1, keepdim=True), levels), 1)
        embedded = self.time_embedding(sinusoid((STEPS * levels - 1).clamp(min=0), self.config.dim))
        return F.silu(embedded)

    def _counts(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """How many tokens of each latent step this process holds. What pads the sequence counts as the last step's."""
        steps, space = shape[0], prod(shape[1:])
        index = torch.arange(1, steps + 1, device="cpu").repeat_interleave(space)[None, :, None]
        held = self.split.tokens(index).flatten()
        held = torch.where(held == 0, steps, held)
        return tuple(torch.bincount(held, minlength=steps + 1)[1:].tolist())

    def _check(self, latent: Tensor, grid: Grid, text: Tensor, time: Tensor) -> None:
        needed = (self.config.in_channels, *grid.shape)
        if tuple(latent.shape[1:]) != needed:
            raise ValueError(
                f"cogvideox takes latent and condition channels with the grid's shape, {needed}, but got "
                f"{tuple(latent.shape[1:])}: the codec or the condition belongs to another model"
            )
        batch, steps = latent.shape[0], grid.shape[0]
        levels = time.shape in ((batch,), (batch, steps))
        if text.ndim != 3 or text.shape[::2] != (batch, self.config.text_dim) or not levels:
            raise ValueError(
                f"{batch} latents of {steps} steps need text [{batch}, L, {self.config.text_dim}] and noise levels "
                f"[{batch}] or [{batch}, {steps}], but got text {tuple(text.shape)} and levels {tuple(time.shape)}"
            )


class CogVideoX(nn.Module):
    """The network; its parameters and those of diffusers' are the same tensors (keys.py)."""

    def __init__(self, config: CogVideoXConfig) -> None:
        super().__init__()
        self.video = Trunk(config)
        self.attention = attention_of(config)

    def forward(self, stream: Stream, text: Tensor) -> Tensor:
        """What is predicted of `stream` alone, the released weights the velocity alpha noise - sigma data:
        [B, out_channels, *shape] fp32."""
        state = self.video.embed(stream, text)
        for index, attention in enumerate(self.attention):
            state = self.video.fed(index, self.video.attended(index, state, attention))
        return self.video.predicted(state)


def attention_of(config: CogVideoXConfig) -> nn.ModuleList:
    """That of every block."""
    return nn.ModuleList(Attention(config.dim, config.heads, eps=config.eps) for _ in range(config.layers))
