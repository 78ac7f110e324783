"""Sequence parallel = not: forward, loss and gradients of the whole model, on real processes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from one_step import step, toy
from ranks import on_ranks

from talkies.parallel.sequence import SequenceGroups, split_sequence


def sequence_rank(degree: int, padded: bool) -> dict[str, Any]:
    import torch.distributed as dist

    world = dist.get_world_size()
    model = toy()
    split_sequence(model, SequenceGroups("cpu", world, degree))
    loss, grads = step(model, padded=padded)
    for grad in grads.values():  # what DDP and FSDP do
        dist.all_reduce(grad)
    return {"loss": loss, "grads": {name: grad / world for name, grad in grads.items()}}


@pytest.mark.parametrize(("world", "degree", "padded"), [(2, 2, False), (4, 4, True), (4, 2, False)])
def test_loss_and_gradients_are_those_of_one_process(tmp_path: Path, world: int, degree: int, padded: bool) -> None:
    """The toy has 2 heads: degree 4 needs the hybrid. Token counts do not divide."""
    loss, grads = step(toy(), padded=padded)
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in grads.values()]))
    for answer in on_ranks(tmp_path, world, sequence_rank, degree, padded):
        torch.testing.assert_close(answer["loss"], loss, rtol=1e-5, atol=0)
        assert answer["grads"].keys() == grads.keys()
        worst = max(float((answer["grads"][name] - grads[name]).abs().max()) for name in grads)
        assert worst <= 1e-5 * float(norm)
