"""The process groups of a layout: which ranks shard, which replicate, and which share a sequence."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from talkies.parallel.config import Layout
from talkies.parallel.sequence import SequenceGroups
from talkies.parallel.world import World
from talkies.parallel.zero import Partitions, set_deepspeed_environment


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """`weights`: the mesh over whose last dimension FSDP shards, None under other strategies; `sequence`: None if every
    rank has whole sequences. This process is reader `data_rank` of `data_world` that read different clips; `device` is
    its own. `zero`: DeepSpeed manages the weights; `partitions` cuts them under stage 3."""

    device: torch.device
    weights: DeviceMesh | None
    sequence: SequenceGroups | None
    data_rank: int
    data_world: int
    zero: bool = False
    partitions: Partitions | None = None


def data_place(layout: Layout, world: World) -> tuple[int, int]:
    """(reader, readers): the share of a global batch that this process reads; a sequence group reads the same clips."""
    return world.rank // layout.sequence, world.size // layout.sequence


def mesh_of(layout: Layout, world: World) -> Mesh:
    """Make the process groups of `layout`; every process of the world must call it, after `start`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = None
    if layout.kind != "ddp" and not dist.is_initialized():  # FSDP2 and DeepSpeed need a group even for one process
        dist.init_process_group(_backend(), store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    if layout.kind == "deepspeed":
        set_deepspeed_environment(world)
    if layout.kind == "fsdp2":
        if layout.replicate > 1:
            names = ("replicate", "shard")
            weights = init_device_mesh(device, (layout.replicate, layout.shard), mesh_dim_names=names)
        else:
            weights = init_device_mesh(device, (layout.shard,), mesh_dim_names=("shard",))
    rank, size = data_place(layout, world)
    return Mesh(
        device=root_device(world),
        weights=weights,
        zero=layout.kind == "deepspeed",
        partitions=Partitions() if layout.kind == "deepspeed" and layout.stage == 3 else None,
        sequence=SequenceGroups(device, world.size, layout.sequence) if layout.sequence > 1 else None,
        data_rank=rank,
        data_world=size,
    )


def root_device(world: World) -> torch.device:
    """The accelerator of this process: the one with its local rank, or the only visible one (srun)."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", 0 if torch.cuda.device_count() == 1 else world.local)


def destroy_groups() -> None:
    """Destroy the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def start(world: World) -> None:
    """Join the other processes at MASTER_ADDR (set by torchrun or our sbatch script). Does nothing for a single
    process, or if called again."""
    if world.size == 1 and not dist.is_initialized():
        return
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(root_device(world))
        dist.init_process_group(_backend(), rank=world.rank, world_size=world.size)


def _backend() -> str:
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
