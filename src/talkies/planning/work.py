"""What one rank has to hold and compute, in plain numbers: the input of every estimate. Imports no torch."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from talkies.parallel.config import DeepspeedConfig, Layout

FP32, BF16 = 4, 2
MOMENTS = 2  # AdamW keeps two fp32 values per weight
Sizes = tuple[tuple[int, int], ...]
"""(rows, values per row) of each tensor: FSDP deals out rows."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters that FSDP gathers together: a unit (`block`), or a component's parameters outside of units. `count`:
    such groups in all. `lowered`: frozen tensors that are held in bf16."""

    block: bool
    count: int
    trained: Sizes
    frozen: Sizes = ()
    lowered: Sizes = ()

    @property
    def all(self) -> Sizes:
        """Trained and frozen tensors."""
        return self.wide + self.lowered

    @property
    def wide(self) -> Sizes:
        """Those that are held in fp32."""
        return self.trained + self.frozen


@dataclass(frozen=True, kw_only=True)
class Part:
    """One component: its own parameters, and those of its LoRA, if any, which train instead. `group`: the parameter
    group by which it may be inactive, None if it never is."""

    name: str
    group: str | None = None
    built: int
    adapter: int = 0
    groups: tuple[Group, ...] = ()

    @property
    def trained(self) -> int:
        """Parameters that the phase trains."""
        return sum(group.count * dealt(group.trained, 1) for group in self.groups)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a step does in fp32 before its network: conditions are encoded anew. Bytes: `weights` of the codecs, the
    `sound` of a clip, and those `working` while one is encoded; `flops` of a clip, on average."""

    weights: int = 0
    sound: int = 0
    working: int = 0
    flops: int = 0


@dataclass(frozen=True, kw_only=True)
class Work:
    """A phase on a layout. `tokens` of one clip per stream that a sequence group shares, `inactive` parameter groups in
    the turn that is planned; `clips` per optimizer step over all ranks, in `accumulate` micro-batches; and what is done
    `beside` the network."""

    tokens: Mapping[str, int]
    inactive: frozenset[str] = frozenset()
    bf16: bool
    clips: int
    accumulate: int
    layout: Layout
    checkpointing: bool
    beside: Beside = Beside()

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

    def rank_tokens(self, stream: str) -> int:
        """Tokens of a stream on one rank, including padding."""
        return -(-self.tokens[stream] // self.layout.sequence)

    def padded(self, stream: str) -> int:
        """Tokens of a stream over the ranks of a sequence group."""
        return self.rank_tokens(stream) * self.layout.sequence


def active(parts: Iterable[Part], inactive: Collection[str]) -> list[Part]:
    """The components that are active in a step."""
    return [part for part in parts if part.group not in inactive]


def dealt(sizes: Sizes, shards: int) -> int:
    """Values that the fullest of `shards` ranks holds: FSDP deals out rows, the first ranks get ceil(rows / shards)."""
    return sum(-(-rows // shards) * row for rows, row in sizes)
