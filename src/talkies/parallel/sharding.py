"""FSDP2 over every block: weights, gradients and moments are sharded; weights are gathered block by block."""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard


def shard_model(model: nn.Module, units: Sequence[nn.Module], mesh: DeviceMesh, *, bf16: bool) -> None:
    """Shard `model`, unit by unit, over the last dimension of `mesh`; a first dimension replicates (hybrid).

    `bf16`: blocks are gathered and computed in bf16, gradients are reduced in fp32, master weights are fp32. Modules
    outside of blocks (time and patch embeddings, heads) are small and stay fp32. Inputs are never cast: the residual
    stream and the time vectors are fp32 between blocks.
    """
    lowered = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in units:
        fully_shard(block, mesh=mesh, mp_policy=lowered if bf16 else MixedPrecisionPolicy())
    whole_model = MixedPrecisionPolicy(cast_forward_inputs=False)
    # By default the root stays gathered until a backward pass, which sampling and validation never make.
    fully_shard(model, mesh=mesh, mp_policy=whole_model, reshard_after_forward=True)
    # FSDP2 warns about modules whose output is a view, as every Linear's is; nothing here modifies one in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")


def shape_of(parameter: Tensor) -> torch.Size:
    """The shape of the whole parameter; the `shape` of a parameter that ZeRO-3 has partitioned is empty."""
    return torch.Size(getattr(parameter, "ds_shape", parameter.shape))


def rows(tensor: Tensor) -> tuple[int, int]:
    """The rows [first, last) of a parameter that this rank holds; all rows if it is not sharded."""
    if not isinstance(tensor, DTensor):
        return 0, tensor.shape[0] if tensor.ndim else 1
    first, count = 0, tensor.shape[0]
    for size, placement, rank in zip(tensor.device_mesh.shape, tensor.placements, _coordinate(tensor), strict=True):
        if isinstance(placement, Shard):
            assert placement.dim == 0, placement
            each = -(-count // size)
            begin = min(rank * each, count)
            first, count = first + begin, min(each, count - begin)
        else:
            assert isinstance(placement, Replicate), placement
    return first, first + count


def _coordinate(tensor: DTensor) -> list[int]:
    coordinate = tensor.device_mesh.get_coordinate()
    assert coordinate is not None, "a tensor of a mesh that this rank is not part of"
    return list(coordinate)


@torch.no_grad()
def copy_part(target: Tensor, read: Callable[[int, int], Tensor]) -> None:
    """Fill this rank's part of `target`; `read(first, last)` returns rows of the whole tensor, on the CPU."""
    part = target.to_local() if isinstance(target, DTensor) else target
    part.copy_(read(*rows(target)))
