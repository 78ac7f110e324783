"""Sequence parallelism changes nothing: forward, loss and gradients of the whole model, on real processes."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from one_step import step, toy
from ranks import CasesOnRanks, on_ranks

from talkies.parallel.sequence import SequenceGroups, split_sequence

sys.path.append(str(Path(__file__).parents[1] / "nn"))  # a spawned process imports this file, too
from joint import Joint


def sequence_rank(degree: int, padded: bool) -> dict[str, Any]:
    import torch.distributed as dist

    world = dist.get_world_size()
    model = toy()
    split_sequence(model, SequenceGroups("cpu", world, degree))
    loss, grads = step(model, padded=padded)
    for grad in grads.values():  # what DDP and FSDP do
        dist.all_reduce(grad)
    return {"loss": loss, "grads": {name: grad / world for name, grad in grads.items()}}


def joint_rank(masked: bool) -> list[torch.Tensor]:
    """A joint attention over two streams, one of them masked for a sample, by this rank's share of the tokens."""
    import torch.distributed as dist

    model, xs, masks = joint_inputs(masked=masked)
    split_sequence(model, SequenceGroups("cpu", dist.get_world_size(), dist.get_world_size()))
    return model.sharing(xs, masks)


def joint_inputs(*, masked: bool) -> tuple[Joint, list[torch.Tensor], list[torch.Tensor | None]]:
    """Text (4 tokens) and another stream (5 tokens): their counts do not divide, nor do the 3 heads."""
    torch.manual_seed(0)
    model, xs = Joint((20, 12)), [torch.randn(2, 5, 20), torch.randn(2, 4, 12)]
    mask = torch.tensor([[True] * 4, [True, False, True, False]])[:, None, None]
    return model, xs, [None, mask if masked else None]


@pytest.mark.parametrize("masked", [False, True])
def test_several_streams_share_a_sequence(masked: bool, tmp_path: Path) -> None:
    model, xs, masks = joint_inputs(masked=masked)
    expected = model.sharing(xs, masks)
    for answer in on_ranks(tmp_path, 2, joint_rank, masked):
        torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-6)


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
