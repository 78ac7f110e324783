"""Lightning's strategies for a layout, in processes that torchrun or srun started."""

import os
from typing import Any

import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from talkies.parallel.config import Layout
from talkies.parallel.world import World
from talkies.parallel.zero import ZeroPrecision, ZeroStrategy


class StartedEnvironment(ClusterEnvironment):
    """The processes are there already, whoever started them; Lightning's own detection of Slurm, which would requeue
    from inside a signal handler, stays out of it."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning must start none."""
        return True

    @property
    def main_address(self) -> str:
        """Where the processes met; for what asks, as the process group exists before the trainer."""
        return os.environ.get("MASTER_ADDR", "127.0.0.1")

    @property
    def main_port(self) -> int:
        """The port there."""
        return int(os.environ.get("MASTER_PORT", "29500"))

    @staticmethod
    def detect() -> bool:
        """Chosen explicitly, never detected."""
        return False

    def world_size(self) -> int:
        """Processes."""
        return self.world.size

    def set_world_size(self, size: int) -> None:
        """Lightning repeats what it was told."""
        assert size == self.world.size, (size, self.world)

    def global_rank(self) -> int:
        """This process."""
        return self.world.rank

    def set_global_rank(self, rank: int) -> None:
        """Lightning repeats what it was told."""
        assert rank == self.world.rank, (rank, self.world)

    def local_rank(self) -> int:
        """This process on its node."""
        return self.world.local

    def node_rank(self) -> int:
        """Node of this process."""
        return self.world.rank // (self.world.size // self.world.nodes)


def strategy_of(
    layout: Layout, world: World, *, alternate: bool, clip: float | None = None, bf16: bool = False
) -> dict[str, Any]:
    """What Lightning's Trainer is told of `layout`: strategy, devices, nodes, precision, and who started the processes.

    `clip` is for DeepSpeed, which clips by itself. `alternate`: one expert rests in every step, so that DDP has to look
    for parameters without gradients; it leaves them without.
    """
    strategy: Strategy | str
    lowered = {"precision": "32-true"}  # what is not lowered already: FSDP's weights, ZeRO's blocks
    plugins: list[Any] = [StartedEnvironment(world)]
    if layout.kind == "deepspeed":
        strategy = ZeroStrategy(layout, world, clip=clip or 0.0)
        plugins, lowered = [*plugins, ZeroPrecision()], {}
    elif layout.kind == "fsdp2":
        strategy = ModelParallelStrategy(data_parallel_size=world.size, tensor_parallel_size=1)
    else:
        strategy = "auto" if world.size == 1 else DDPStrategy(find_unused_parameters=alternate)
        lowered = {"precision": "bf16-mixed" if bf16 else "32-true"}
    return {
        "accelerator": "cuda" if torch.cuda.is_available() else "cpu",
        "devices": world.size // world.nodes,
        "num_nodes": world.nodes,
        "strategy": strategy,
        "plugins": plugins,
        **lowered,
    }
