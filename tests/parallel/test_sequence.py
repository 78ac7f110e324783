"""Sequence parallelism changes nothing: forward, loss and gradients of the whole model, on real processes."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from gradients import Step, averaged, close_step
from one_step import step, toy
from ranks import CasesOnRanks

from talkies.parallel.sequence import SequenceGroups, split_sequence

sys.path.append(str(Path(__file__).parents[1] / "nn"))  # a spawned process imports this file, too
from joint import Joint


def sequence_rank() -> Step:
    model = toy()
    split_sequence(model, SequenceGroups("cpu", 2, 2))
    return averaged(step(model))


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


def on_rank(masked: bool | None) -> Any:
    """That of the joint attention, or (None) of the model."""
    return sequence_rank() if masked is None else joint_rank(masked)


@pytest.fixture(scope="module")
def on_two(tmp_path_factory: pytest.TempPathFactory) -> CasesOnRanks:
    cases = {str(masked): (2, (masked,)) for masked in (None, False, True)}
    return CasesOnRanks(tmp_path_factory.mktemp("ranks"), on_rank, cases)


@pytest.mark.parametrize("masked", [False, True])
def test_several_streams_share_a_sequence(masked: bool, on_two: CasesOnRanks) -> None:
    model, xs, masks = joint_inputs(masked=masked)
    expected = model.sharing(xs, masks)
    for answer in on_two.answers(str(masked)):
        torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-6)


def test_loss_and_gradients_are_those_of_one_process(on_two: CasesOnRanks) -> None:
    """tests/models/test_network_ranks.py has more ranks and networks. Token counts do not divide."""
    for answer in on_two.answers("None"):
        close_step(answer, step(toy()))
