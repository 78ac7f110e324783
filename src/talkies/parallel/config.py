"""Recipe keys of a layout over processes. Layouts do not change results, and are excluded from the recipe's hash."""

from typing import Annotated, Literal

from pydantic import Field

from talkies.config import config
from talkies.config.numbers import Threads
from talkies.config.schema import added

Degree = Annotated[int, Field(ge=1, le=2**16)]


@config
class DdpConfig:
    """Every rank holds the whole model and whole sequences; `replicate` ranks share the batch. The other degrees must
    be 1: `check_layout` names the strategy that supports more."""

    kind: Literal["ddp"] = "ddp"
    replicate: Degree = 1
    shard: Degree = 1
    sequence: Degree = 1

    @property
    def ranks(self) -> int:
        """Processes."""
        return self.replicate


@config
class Fsdp2Config:
    """`fully_shard`: `shard` ranks share one copy of the weights, and `replicate` such groups exist (hybrid). Within a
    shard group every `sequence` consecutive ranks share the tokens of their clips."""

    kind: Literal["fsdp2"] = "fsdp2"
    replicate: Degree = 1
    shard: Degree
    sequence: Degree = 1

    @property
    def ranks(self) -> int:
        """Processes."""
        return self.replicate * self.shard


@config
class DeepspeedConfig:
    """DeepSpeed's ZeRO over `shard` ranks: `stage` 1 shards the optimizer's state, 2 also the gradients, 3 also the
    weights. `offload` keeps the optimizer's state in the host's memory, and steps there. Every `sequence` consecutive
    ranks share the tokens of their clips."""

    kind: Literal["deepspeed"] = "deepspeed"
    stage: Literal[1, 2, 3] = 2
    replicate: Degree = 1
    shard: Degree
    sequence: Degree = 1
    offload: bool = False

    @property
    def ranks(self) -> int:
        """Processes."""
        return self.replicate * self.shard


def without_training(layout: "Layout") -> "Layout":
    """A layout of the same ranks for inference, for which DeepSpeed's training engine cannot be used."""
    if layout.kind != "deepspeed":
        return layout
    if layout.ranks == 1:
        return DdpConfig()
    return Fsdp2Config(shard=layout.ranks, sequence=layout.sequence)


Layout = DdpConfig | Fsdp2Config | DeepspeedConfig
ParallelConfig = Annotated[Layout, Field(discriminator="kind")]


@config
class ComputeConfig:
    """How blocks compute: `checkpointing` keeps only their inputs and recomputes the rest for the gradient; `compile`
    compiles each kind of block for training steps. `threads`: CPU threads per process instead of torch's choice; one is
    fastest for small networks, and does not spin when cores are shared. `masters`: bf16 holds the frozen weights of
    matmuls in blocks in bf16, to which bf16 precision rounds them anyway."""

    checkpointing: bool = False
    compile: bool = False
    threads: Threads | None = None
    masters: Literal["fp32", "bf16"] = added(default="fp32")
