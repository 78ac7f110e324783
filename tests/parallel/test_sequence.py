"""Sequence parallelism changes nothing: forward, loss and gradients of the whole model, on real processes."""

from typing import Any

import pytest
import torch
from one_step import step, toy
from ranks import CasesOnRanks

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


CASES = {"2 of 2": (2, (2, False)), "4 of 4, padded": (4, (4, True)), "2 of 4": (4, (2, False))}


@pytest.fixture(scope="module")
def on_all_ranks(tmp_path_factory: pytest.TempPathFactory) -> CasesOnRanks:
    return CasesOnRanks(tmp_path_factory.mktemp("ranks"), sequence_rank, CASES)


def _case(name: str) -> Any:
    """Four processes take half a minute to start on two cores."""
    return pytest.param(name, marks=[pytest.mark.ranks] if CASES[name][0] > 2 else [])


@pytest.mark.parametrize("name", [_case(name) for name in CASES])
def test_loss_and_gradients_are_those_of_one_process(name: str, on_all_ranks: CasesOnRanks) -> None:
    """The toy has 2 heads: degree 4 needs the hybrid. Token counts do not divide."""
    loss, grads = step(toy(), padded=CASES[name][1][1])
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in grads.values()]))
    for answer in on_all_ranks.answers(name):
        torch.testing.assert_close(answer["loss"], loss, rtol=1e-5, atol=0)
        assert answer["grads"].keys() == grads.keys()
        worst = max(float((answer["grads"][name] - grads[name]).abs().max()) for name in grads)
        assert worst <= 1e-5 * float(norm)
