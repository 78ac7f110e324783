"""Put a model on a layout: how its blocks compute, and where its tokens and weights lie."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from talkies.parallel.compiled import compiled, reset_compiled
from talkies.parallel.config import ComputeConfig
from talkies.parallel.mesh import Mesh
from talkies.parallel.sequence import split_sequence
from talkies.parallel.sharding import copy_part, shard_model
from talkies.parallel.zero import Partitions

Read = Callable[[int, int], Tensor]
"""(first, last) -> rows [first, last) of a parameter, on the CPU."""


def arrange(
    model: nn.Module, units: Sequence[nn.Module], mesh: Mesh | None, compute: ComputeConfig, *, bf16: bool
) -> None:
    """Compile, recompute, split and shard `model`, which may be on the meta device, by its `units`. Parameters keep
    their names."""
    if compute.compile:
        reset_compiled()
    for block in units:
        if compute.compile:
            block.forward = compiled(block.forward)
        if bf16 and mesh is not None and mesh.zero:
            block.forward = partial(_lowered, mesh.device.type, block.forward)
        if compute.checkpointing:
            block.forward = partial(_recomputed, block.forward)
    if mesh is None:
        return
    if mesh.sequence is not None:
        split_sequence(model, mesh.sequence)
    if mesh.weights is not None:
        shard_model(model, units, mesh.weights, bf16=bf16)


def placed(model: nn.Module, mesh: Mesh | None) -> Callable[[str, Read], None]:
    """Allocate the weights of an arranged `model` that is on the meta device, and return a function that fills a
    parameter by name. Every process fills every parameter once, in the same order."""
    device = mesh.device if mesh is not None else torch.device("cpu")
    if mesh is not None and mesh.partitions is not None:
        return partial(_cut, model, mesh.partitions, device)
    model.to_empty(device=device)
    parameters = dict(model.named_parameters())
    return lambda name, read: copy_part(parameters[name], read)


def viewed(model: nn.Module) -> Callable[[str, Read], None]:
    """A function that gives a parameter of `model`, on the meta device, what is read, by name: without a copy where it
    has the parameter's dtype."""
    return partial(_view, model)


def _view(model: nn.Module, name: str, read: Read) -> None:
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    empty = module.get_parameter(leaf)
    value = read(0, empty.shape[0] if empty.ndim else 1).to(empty.dtype)
    module.register_parameter(leaf, nn.Parameter(value, requires_grad=empty.requires_grad))


def _cut(model: nn.Module, partitions: Partitions, device: torch.device, name: str, read: Read) -> None:
    """Make one parameter whole, then keep this rank's part of it."""
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    empty = module.get_parameter(leaf)
    rows = empty.shape[0] if empty.ndim else 1
    parameter = nn.Parameter(read(0, rows).to(device, empty.dtype, copy=True), requires_grad=empty.requires_grad)
    module.register_parameter(leaf, parameter)
    partitions.cut(parameter)


def _lowered(device: str, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Matmuls in bf16. Without autocast's cache, which would keep a copy of every weight that stage 3 releases."""
    with torch.autocast(device, torch.bfloat16, cache_enabled=False):
        return forward(*args, **kwargs)


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
