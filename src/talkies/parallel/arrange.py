"""A model on a layout: how its blocks are computed, where its tokens and its weights lie."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from talkies.parallel.compiled import compiled, forget
from talkies.parallel.config import ComputeConfig
from talkies.parallel.mesh import Mesh
from talkies.parallel.sequence import split_sequence
from talkies.parallel.sharding import blocks, shard_model


def arrange(model: nn.Module, mesh: Mesh | None, compute: ComputeConfig, *, bf16: bool) -> torch.device:
    """Compile, recompute, split and shard `model`, which may lie on the meta device; returns the device that its
    weights belong on. No name of a parameter changes."""
    if compute.compile:
        forget()
    for block in blocks(model):
        if compute.compile:
            block.forward = compiled(block.forward)
        if compute.checkpointing:
            block.forward = partial(_recomputed, block.forward)
    if mesh is None:
        return torch.device("cpu")
    if mesh.sequence is not None:
        split_sequence(model, mesh.sequence)
    if mesh.weights is not None:
        shard_model(model, mesh.weights, bf16=bf16)
    return mesh.device


def _recomputed(forward: Callable[..., Tensor], *args: Any) -> Tensor:
    out: Tensor = checkpoint(forward, *args, use_reentrant=False)
    return out
