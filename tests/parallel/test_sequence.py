"""Sequence parallelism changes nothing: forward, loss and gradients of the whole model, on real processes."""

import sys
from pathlib import Path

import pytest
import torch
from gradients import Step, averaged, close_step
from one_step import step, toy
from ranks import on_ranks

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


@pytest.mark.parametrize("masked", [False, True])
def test_several_streams_share_a_sequence(masked: bool, tmp_path: Path) -> None:
    model, xs, masks = joint_inputs(masked=masked)
    expected = model.sharing(xs, masks)
    for answer in on_ranks(tmp_path, 2, joint_rank, masked):
        torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-6)


def test_loss_and_gradients_are_those_of_one_process(tmp_path: Path) -> None:
    """tests/models/test_network_ranks.py has more ranks and networks. Token counts do not divide."""
    for answer in on_ranks(tmp_path, 2, sequence_rank):
        close_step(answer, step(toy()))
