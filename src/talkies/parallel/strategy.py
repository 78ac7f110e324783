"""Lightning's strategies for a layout, in processes that torchrun or srun started."""

from typing import Any

import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from talkies.parallel.config import DdpConfig, Fsdp2Config
from talkies.parallel.world import World


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
        """Unused: the process group exists before the trainer."""
        raise NotImplementedError("the process group is made before the trainer")

    @property
    def main_port(self) -> int:
        """Unused: the process group exists before the trainer."""
        raise NotImplementedError("the process group is made before the trainer")

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


def strategy_of(layout: DdpConfig | Fsdp2Config, world: World, *, alternate: bool) -> dict[str, Any]:
    """What Lightning's Trainer is told of `layout`: strategy, devices, nodes and who started the processes.

    `alternate`: one expert rests in every step, so that DDP has to look for parameters without gradients; it leaves
    them without, and AdamW leaves them untouched.
    """
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if world.size == 1 and layout.kind == "ddp":
        return {"accelerator": accelerator, "devices": 1, "plugins": [StartedEnvironment(world)]}
    strategy: Strategy
    if layout.kind == "ddp":
        strategy = DDPStrategy(find_unused_parameters=alternate)
    else:
        strategy = ModelParallelStrategy(data_parallel_size=world.size, tensor_parallel_size=1)
    return {
        "accelerator": accelerator,
        "devices": world.size // world.nodes,
        "num_nodes": world.nodes,
        "strategy": strategy,
        "plugins": [StartedEnvironment(world)],
    }
