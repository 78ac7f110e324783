"""A backbone at work: CogVideoX, with its attention as a component of its own, or a tower of Wan."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.models.cogvideox.block import Block as CogVideoXBlock
from talkies.models.cogvideox.config import CogVideoXConfig
from talkies.models.cogvideox.positions import rope as cogvideox_rope
from talkies.models.cogvideox.tower import Trunk, attention_of
from talkies.models.wan.config import TowerConfig
from talkies.models.wan.tower import Tower
from talkies.nn.rope import Rope, tower_rope
from talkies.nn.split import Split
from talkies.streams import Grid
from talkies.streams.batch import Recall, Stream, Text


class Backbone(Protocol):
    """A transformer over a video, layer by layer. Its state is a dataclass; between `attended` and `fed`, its `tokens`
    [B, T, d] fp32, those of the video, may be replaced."""

    @property
    def split(self) -> Split:
        """How its tokens are distributed."""

    def embed(self, stream: Stream, text: Text) -> Any:
        """The state before the first layer."""

    def level(self, state: Any) -> Tensor:
        """The embedded noise level [B, d] fp32 of every sample, with SiLU applied."""

    def frame_rope(self, grid: Grid, device: torch.device) -> Rope | None:
        """Rotations of the tokens of the first latent step; None if it rotates none."""

    def attended(self, index: int, state: Any, text: Text, recall: Recall) -> Any:
        """After the attention of layer `index`, to the text, too; `recall` may reuse what an earlier step found."""

    def fed(self, index: int, state: Any) -> Any:
        """After the feed-forward of layer `index`."""

    def predicted(self, state: Any) -> Tensor:
        """After the last layer -> [B, C, *shape] fp32."""

    def units(self) -> Iterator[nn.Module]:
        """The parts of its layers that are sharded, recomputed and compiled as one."""


@dataclass(frozen=True)
class CogVideoXBackbone:
    """Text and video are one sequence; it steers after the attention over both, as the released code does."""

    video: Trunk
    attention: nn.ModuleList

    @property
    def split(self) -> Split:
        """As above; of the others, too."""
        return self.video.split

    def embed(self, stream: Stream, text: Text) -> Any:
        """See Backbone."""
        return self.video.embed(stream, text.embedding, text.cache)

    def level(self, state: Any) -> Tensor:
        """That by which the text is modulated."""
        found: Tensor = state.times.embedded[:, 0]
        return found

    def frame_rope(self, grid: Grid, device: torch.device) -> Rope | None:
        """See Backbone."""
        config = self.video.config
        if config.positions == "sincos":
            return None
        _, *space = grid.token_shape(config.patch)
        return cogvideox_rope(config, (1, *space), device)

    def attended(self, index: int, state: Any, text: Text, recall: Recall) -> Any:
        """See Backbone."""
        del text
        return self.video.attended(index, state, self.attention[index], recall=recall)

    def fed(self, index: int, state: Any) -> Any:
        """See Backbone."""
        return self.video.fed(index, state)

    def predicted(self, state: Any) -> Tensor:
        """See Backbone."""
        return self.video.predicted(state)

    def units(self) -> Iterator[nn.Module]:
        """Modulation, attention and feed-forward of every layer."""
        for block, attention in zip(self.video.blocks, self.attention, strict=True):
            assert isinstance(block, CogVideoXBlock)
            yield from (block.norm, attention, block.feed)


@dataclass(frozen=True)
class WanBackbone:
    """It steers after the attention to the text (MTV, appendix)."""

    video: Tower

    @property
    def split(self) -> Split:
        """See Backbone."""
        return self.video.split

    def embed(self, stream: Stream, text: Text) -> Any:
        """See Backbone."""
        return self.video.embed(stream, text.embedding, text.cache)

    def level(self, state: Any) -> Tensor:
        """See Backbone."""
        return F.silu(state.time)

    def frame_rope(self, grid: Grid, device: torch.device) -> Rope | None:
        """See Backbone."""
        config = self.video.config
        first = replace(grid, shape=(config.patch[0], *grid.shape[1:]))
        return tower_rope(first, config.patch, config.head_dim, grid.rate / config.patch[0], device)

    def attended(self, index: int, state: Any, text: Text, recall: Recall) -> Any:
        """See Backbone."""
        return self._after(index, state, half="attention", recall=recall, of_text=text.cache)

    def fed(self, index: int, state: Any) -> Any:
        """See Backbone."""
        return self._after(index, state, half="feed")

    def predicted(self, state: Any) -> Tensor:
        """See Backbone."""
        return self.video.velocity(state.tokens, state)

    def units(self) -> Iterator[nn.Module]:
        """Its blocks, each of which runs in two halves."""
        yield from self.video.blocks

    def _after(self, index: int, state: Any, **how: Any) -> Any:
        inputs = (state.tokens, state.text, state.modulation, state.rope, state.mask)
        return replace(state, tokens=self.video.blocks[index](*inputs, **how))


def children_of(config: CogVideoXConfig | TowerConfig) -> dict[str, nn.Module]:
    """The components of a backbone, as children of a network."""
    if isinstance(config, CogVideoXConfig):
        return {"video": Trunk(config), "attention": attention_of(config)}
    return {"video": Tower(config)}


def backbone_of(model: nn.Module) -> Backbone:
    """The backbone whose components `model` has as children."""
    video = model.get_submodule("video")
    if isinstance(video, Tower):
        return WanBackbone(video)
    assert isinstance(video, Trunk)
    attention = model.get_submodule("attention")
    assert isinstance(attention, nn.ModuleList)
    return CogVideoXBackbone(video, attention)
