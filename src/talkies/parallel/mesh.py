"""The groups of a layout: who shards with whom, who replicates whom, who shares a sequence."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from talkies.parallel.config import Layout
from talkies.parallel.sequence import SequenceGroups
from talkies.parallel.world import World
from talkies.parallel.zero import Partitions, tell_deepspeed


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """`weights`: the mesh over which FSDP shards (its last dimension), None under others; `sequence`: None where every
    rank has whole sequences. `data_rank` of `data_world` readers of different clips; `device` of this process.
    `zero`: the weights are DeepSpeed's, and `partitions` cuts those that stage 3 shards."""

    device: torch.device
    weights: DeviceMesh | None
    sequence: SequenceGroups | None
    data_rank: int
    data_world: int
    zero: bool = False
    partitions: Partitions | None = None


def data_place(layout: Layout, world: World) -> tuple[int, int]:
    """(reader, readers): which share of a global batch this process reads. Ranks of a sequence group read the same."""
    return world.rank // layout.sequence, world.size // layout.sequence


def mesh_of(layout: Layout, world: World) -> Mesh:
    """Make the groups of `layout`; every process of the world must call it, after `start`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = None
    if layout.kind != "ddp" and not dist.is_initialized():  # both want a group of one, too
        dist.init_process_group(_backend(), store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    if layout.kind == "deepspeed":
        tell_deepspeed(world)
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
    """The accelerator of this process: that of its number on the node, or the only one that it is shown (srun)."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", 0 if torch.cuda.device_count() == 1 else world.local)


def leave() -> None:
    """Give the process group back, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def start(world: World) -> None:
    """Join the other processes; does nothing alone or twice. torchrun's or our sbatch's MASTER_ADDR says where."""
    if world.size == 1 and not dist.is_initialized():
        return
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(root_device(world))
        dist.init_process_group(_backend(), rank=world.rank, world_size=world.size)


def _backend() -> str:
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
