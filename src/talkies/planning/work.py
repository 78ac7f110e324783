"""What one rank has to hold and compute, in plain numbers: the input of every estimate. Imports no torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from talkies.models.config import MovaShape, TowerConfig
from talkies.parallel.config import DeepspeedConfig, Layout
from talkies.streams import MODALITIES, Modality

FP32, BF16 = 4, 2
MOMENTS = 2  # AdamW keeps two fp32 values per weight
Sizes = tuple[tuple[int, int], ...]
"""(rows, values per row) of each tensor: FSDP deals out rows."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters that FSDP gathers together: a block, or everything outside of blocks. `count`: such groups in all."""

    block: bool
    count: int
    trained: Sizes
    frozen: Sizes = ()

    @property
    def all(self) -> Sizes:
        """Trained and frozen tensors."""
        return self.trained + self.frozen


@dataclass(frozen=True, kw_only=True)
class Part:
    """One component: its own parameters, and those of its LoRA, if any, which train instead."""

    name: str
    built: int
    adapter: int = 0
    groups: tuple[Group, ...] = ()

    @property
    def trained(self) -> int:
        """Parameters that the phase trains."""
        return self.adapter or self.built


@dataclass(frozen=True, kw_only=True)
class Work:
    """A phase on a layout. `tokens` per stream of one clip (including text); `bridge`: whether it is built;








    `lora_rank`: 0 if all weights train; `clips` per optimizer step over all ranks, in `accumulate` micro-batches."""

    shape: MovaShape
    tokens: Mapping[str, int]
    bridge: bool
    lora_rank: int
    bf16: bool
    clips: int
    accumulate: int
    layout: Layout
    checkpointing: bool

    @property
    def sharded(self) -> bool:
        """Whether FSDP gathers the weights."""
        return self.layout.kind == "fsdp2"

    @property
    def zero(self) -> int:
        """The stage of DeepSpeed's ZeRO; 0 for other strategies."""
        return self.layout.stage if isinstance(self.layout, DeepspeedConfig) else 0

    @property
    def offload(self) -> bool:
        """Whether the optimizer's state is in main memory."""
        return isinstance(self.layout, DeepspeedConfig) and self.layout.offload

    @property
    def readers(self) -> int:
        """Groups of ranks with different clips."""
        return self.layout.ranks // self.layout.sequence

    @property
    def micro(self) -> int:
        """Clips of one micro-batch on one rank."""
        return self.clips // (self.accumulate * self.readers)

    @property
    def towers(self) -> dict[Modality, TowerConfig]:
        """The towers that are active in a step, with one video expert."""
        shapes: dict[Modality, TowerConfig] = {"video": self.shape.video, "audio": self.shape.audio}
        return {m: shapes[m] for m in MODALITIES if self.tokens.get(m)}

    @property
    def bridges(self) -> int:
        """Active layers of the Bridge, which needs both towers."""
        return self.shape.bridge.layers if self.bridge and len(self.towers) == 2 else 0

    def rank_tokens(self, stream: str) -> int:
        """Tokens of a stream on one rank, including padding; every rank holds the whole text."""
        return self.tokens[stream] if stream == "text" else -(-self.tokens[stream] // self.layout.sequence)

    def padded(self, stream: str) -> int:
        """Tokens of a stream over the ranks of a sequence group."""
        return self.tokens[stream] if stream == "text" else self.rank_tokens(stream) * self.layout.sequence


def active(parts: Iterable[Part]) -> list[Part]:
    """The components that are active in one step: the experts alternate and have the same size."""
    return [part for part in parts if part.name != "video_low"]


def dealt(sizes: Sizes, shards: int) -> int:
    """Values that the fullest of `shards` ranks holds: FSDP deals out rows, the first ranks get ceil(rows / shards)."""
    return sum(-(-rows // shards) * row for rows, row in sizes)
