"""Lightning's strategies for a layout, in processes that were started by torchrun, srun or `launch`."""

import os
from typing import Any

import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from talkies.parallel.config import Layout
from talkies.parallel.world import World
from talkies.parallel.zero import ZeroPrecision, ZeroStrategy


class StartedEnvironment(ClusterEnvironment):
    """The processes exist already, whatever started them. It replaces Lightning's own detection of Slurm, which would
    requeue from inside a signal handler."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning must not start processes."""
        return True

    @property
    def main_address(self) -> str:
        """The rendezvous address; informational, because the process group exists before the trainer."""
        return os.environ.get("MASTER_ADDR", "127.0.0.1")

    @property
    def main_port(self) -> int:
        """The rendezvous port."""
        return int(os.environ.get("MASTER_PORT", "29500"))

    @staticmethod
    def detect() -> bool:
        """Chosen explicitly, never detected."""
        return False

    def world_size(self) -> int:
        """The number of processes."""
        return self.world.size

    def set_world_size(self, size: int) -> None:
        """Lightning may only repeat the known size."""
        assert size == self.world.size, (size, self.world)

    def global_rank(self) -> int:
        """The rank of this process."""
        return self.world.rank

    def set_global_rank(self, rank: int) -> None:
        """Lightning may only repeat the known rank."""
        assert rank == self.world.rank, (rank, self.world)

    def local_rank(self) -> int:
        """The rank of this process on its node."""
        return self.world.local

    def node_rank(self) -> int:
        """The number of this process's node."""
        return self.world.rank // (self.world.size // self.world.nodes)


def strategy_of(
    layout: Layout, world: World, *, alternate: bool, clip: float | None = None, bf16: bool = False
) -> dict[str, Any]:
    """The arguments of Lightning's Trainer for `layout`: strategy, devices, nodes, precision and cluster environment.

    `clip` is for DeepSpeed, which clips by itself. `alternate`: a parameter group is inactive in every step, so that
    DDP must search for parameters without gradients, which keep having none.
    """
    strategy: Strategy | str
    precision = {"precision": "32-true"}  # bf16 is applied elsewhere: by FSDP2's policy, by `arrange` for ZeRO
    plugins: list[Any] = [StartedEnvironment(world)]
    if layout.kind == "deepspeed":
        strategy = ZeroStrategy(layout, world, clip=clip or 0.0)
        plugins, precision = [*plugins, ZeroPrecision()], {}
    elif layout.kind == "fsdp2":
        strategy = ModelParallelStrategy(data_parallel_size=world.size, tensor_parallel_size=1)
    else:
        strategy = "auto" if world.size == 1 else DDPStrategy(find_unused_parameters=alternate)
        precision = {"precision": "bf16-mixed" if bf16 else "32-true"}
    return {
        "accelerator": "cuda" if torch.cuda.is_available() else "cpu",
        "devices": world.size // world.nodes,
        "num_nodes": world.nodes,
        "strategy": strategy,
        "plugins": plugins,
        **precision,
    }
