"""What differs between strategies: where the training state lies, and which AdamW kernel steps it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lightning.pytorch.strategies import Strategy
from torch import nn
from torch.optim import Optimizer

from talkies.parallel.config import Layout
from talkies.training.state import ModuleState, TrainingState
from talkies.training.zero_state import ZeroState


class Engine(Protocol):
    """What steps the weights of a phase."""

    @property
    def fused(self) -> bool | None:
        """Whether AdamW takes torch's fused kernel; None: torch decides."""

    def state(self, strategy: Strategy, model: nn.Module, optimizer: Callable[[], Optimizer]) -> TrainingState:
        """Where the state of `model` lies, as soon as `strategy` has set it up."""


@dataclass(frozen=True)
class TorchEngine:
    """The optimizer steps the module's own parameters: one process, DDP and FSDP2."""

    fused: bool | None = None

    def state(self, strategy: Strategy, model: nn.Module, optimizer: Callable[[], Optimizer]) -> ModuleState:
        """The parameters and AdamW's moments."""
        del strategy
        return ModuleState(lambda: model, optimizer)


@dataclass(frozen=True)
class ZeroEngine:
    """DeepSpeed steps flat partitions of the weights."""

    fused: bool | None

    def state(self, strategy: Strategy, model: nn.Module, optimizer: Callable[[], Optimizer]) -> ZeroState:
        """The partitions of DeepSpeed's engine."""
        del optimizer
        return ZeroState(strategy.model, model)


def engine_of(layout: Layout) -> Engine:
    """The engine of a layout. With the optimizer's state in main memory, AdamW is fused: one pass over it."""
    if layout.kind == "deepspeed":
        return ZeroEngine(True if layout.offload else None)
    return TorchEngine()
