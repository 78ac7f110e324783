"""Shares of the sequence and of the weights change nothing: forward, loss and gradients, on real processes."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cog_toy import clip, toy, words
from torch import Tensor, nn

from talkies.checkpoints.spans import whole
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig
from talkies.parallel.mesh import Mesh
from talkies.parallel.sequence import SequenceGroups
from talkies.streams.batch import Stream

sys.path.append(str(Path(__file__).parents[2] / "parallel"))  # a spawned process imports this file, too
from ranks import CasesOnRanks

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]


class Steered(nn.Module):
    """As a system is: between attention and feed-forward, it does something to every token that a process holds."""

    def __init__(self) -> None:
        super().__init__()
        network = toy()
        self.video, self.attention = network.video, network.attention

    def forward(self, stream: Stream, text: Tensor) -> Tensor:
        state = self.video.embed(stream, text)
        for index, attention in enumerate(self.attention):
            state = self.video.attended(index, state, attention)
            state = self.video.fed(index, replace(state, tokens=1.1 * state.tokens))
        return self.video.predicted(state)


def units(model: Steered) -> list[nn.Module]:
    """Modulation, attention and feed-forward of every layer."""
    layers = zip(model.video.blocks, model.attention, strict=True)
    return [unit for block, attention in layers for unit in (block.norm, attention, block.feed)]


def step(model: Steered, *, padded: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one backward pass of 25 tokens, which no degree divides, in steps that no rank holds
    whole. `padded`: a sample has a step less."""
    torch.manual_seed(2)
    stream = replace(clip(shape=(5, 2, 10)), time=torch.rand(2, 5))
    if padded:
        stream = replace(stream, mask=torch.arange(5) < torch.tensor([[5], [4]]))
    loss = model(stream, words()).square().mean()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def on_rank(degree: int, shard: bool, checkpointing: bool, padded: bool) -> dict[str, Any]:
    """A rank's loss, and the gradients after what DDP and FSDP do."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    world, model = dist.get_world_size(), Steered()
    mesh = Mesh(
        device=torch.device("cpu"),
        weights=init_device_mesh("cpu", (world,), mesh_dim_names=("shard",)) if shard else None,
        sequence=SequenceGroups("cpu", world, degree) if degree > 1 else None,
        data_rank=0,
        data_world=1,
    )
    arrange(model, units(model), mesh, ComputeConfig(checkpointing=checkpointing), bf16=False)
    loss, grads = step(model, padded=padded)
    if shard:
        return {"loss": loss, "grads": {name: whole(grad) for name, grad in grads.items()}}
    for grad in grads.values():
        dist.all_reduce(grad)
    return {"loss": loss, "grads": {name: grad / world for name, grad in grads.items()}}


CASES: dict[str, tuple[int, tuple[int, bool, bool, bool]]] = {
    "2 of 6 heads": (2, (2, False, False, False)),
    "2 shards that share a sequence, recomputed, padded": (2, (2, True, True, True)),
    "3 of 6 heads, padded": (3, (3, False, False, True)),
    "4, of which pairs exchange heads": (4, (4, False, False, False)),
}
"""World size; the degree of sequences, whether the weights are sharded, blocks recomputed, and the stream padded."""


@pytest.fixture(scope="module")
def on_all_ranks(tmp_path_factory: pytest.TempPathFactory) -> CasesOnRanks:
    return CasesOnRanks(tmp_path_factory.mktemp("ranks"), on_rank, CASES)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_those_of_one_process(name: str, on_all_ranks: CasesOnRanks) -> None:
    loss, grads = step(Steered(), padded=CASES[name][1][3])
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in grads.values()]))
    for answer in on_all_ranks.answers(name):
        torch.testing.assert_close(answer["loss"], loss, rtol=1e-5, atol=0)
        assert answer["grads"].keys() == grads.keys()
        worst = max(float((answer["grads"][name] - grads[name]).abs().max()) for name in grads)
        assert worst <= 1e-5 * float(norm)
