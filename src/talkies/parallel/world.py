"""This process's rank and the number of processes, from torchrun's or srun's variables, without torch.distributed."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from talkies.config import RecipeError
from talkies.config.quoting import shown

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_STEP_NUM_NODES")


@dataclass(frozen=True, kw_only=True)
class World:
    """Process `rank` of `size` on `nodes` nodes, equally many on each; `local` is its rank on its node."""

    rank: int = 0
    size: int = 1
    local: int = 0
    nodes: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0


ALONE = World()


def world_of(environment: Mapping[str, str] = os.environ) -> World:
    """The world that this process belongs to: started by torchrun, by srun as one of several tasks, or alone.

    Raises RecipeError if a launcher's variables are incomplete or not numbers.
    """
    for names in (TORCHRUN, SLURM):
        present = [name for name in names if name in environment]
        if names is SLURM and not _several(environment):
            continue
        if not present:
            continue
        if len(present) < len(names):
            missing = ", ".join(name for name in names if name not in environment)
            raise RecipeError(f"parallel: {', '.join(present)} set without {missing}: start with torchrun or srun")
        try:
            rank, size, local, last = (int(environment[name]) for name in names)
        except ValueError:
            values = ", ".join(f"{name}={shown(environment[name])}" for name in names)
            raise RecipeError(f"parallel: {values}: numbers are needed; start with torchrun or srun") from None
        nodes = last if names is SLURM else size // max(1, last)
        if not 0 <= rank < size or not nodes > 0 or size % nodes:
            raise RecipeError(
                f"parallel: rank {rank} of {size} processes on {nodes} nodes: every node needs the same number; start "
                "with torchrun or srun"
            )
        return World(rank=rank, size=size, local=local, nodes=nodes)
    return ALONE


def _several(environment: Mapping[str, str]) -> bool:
    """Whether this is one of several tasks of srun. An sbatch script has these variables, too, but no step id."""
    return "SLURM_STEP_ID" in environment and environment.get("SLURM_NTASKS", "1") != "1"
