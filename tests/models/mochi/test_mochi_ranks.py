"""Shares of the sequence and of the weights change nothing: forward, loss and gradients, on real processes."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from joint_toy import prompt, reference, sound, spoken, toy, video
from torch import Tensor

from talkies.checkpoints.spans import whole
from talkies.models.mochi.network import JointDiT, JointNetwork
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig
from talkies.parallel.mesh import Mesh
from talkies.parallel.sequence import SequenceGroups
from talkies.streams.batch import Stream

sys.path.append(str(Path(__file__).parents[2] / "parallel"))  # a spawned process imports this file, too
from ranks import CasesOnRanks

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]


def given_to(target: str) -> dict[str, Stream]:
    """25 tokens of video and 10 of the reference, which no degree divides, and 7 of the sound; or 25 and 11 of it."""
    if target == "video":
        return {"video": video(shape=(5, 2, 10)), "reference": reference(shape=(2, 2, 10)), "sound": sound()}
    voice = replace(sound(steps=11), role="reference", start=torch.full((2,), -11 / 25))
    return {"sound": replace(sound(steps=25), time=torch.rand(2), role="target"), "reference": voice}


def step(model: JointDiT, *, padded: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one backward pass, with 4 tokens of text. `padded`: the second sample has less of
    everything."""
    torch.manual_seed(2)
    given = given_to(model.shape.target)
    if padded:
        for name, steps in (("reference", 0), ("sound", 5)):
            size = given[name].grid.shape[0]
            mask = torch.arange(size) < torch.tensor([[size], [steps]])
            given[name] = replace(given[name], mask=mask)
    condition = prompt(4, 2) if padded else replace(prompt(4, 4), without=frozenset({"text"}))
    loss = model(given, condition)[model.shape.target].square().mean()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def made(target: str = "video") -> JointDiT:
    return spoken() if target == "sound" else toy(given_bias=-1.0, given_positions="relative")


def on_rank(degree: int, shard: bool, checkpointing: bool, padded: bool, target: str = "video") -> dict[str, Any]:
    """A rank's loss, and the gradients after what DDP and FSDP do."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    world, model = dist.get_world_size(), made(target)
    mesh = Mesh(
        device=torch.device("cpu"),
        weights=init_device_mesh("cpu", (world,), mesh_dim_names=("shard",)) if shard else None,
        sequence=SequenceGroups("cpu", world, degree) if degree > 1 else None,
        data_rank=0,
        data_world=1,
    )
    compute = ComputeConfig(checkpointing=checkpointing)
    arrange(model, [*JointNetwork().units(model)], mesh, compute, bf16=False)
    loss, grads = step(model, padded=padded)
    if shard:
        return {"loss": loss, "grads": {name: whole(grad) for name, grad in grads.items()}}
    for grad in grads.values():
        dist.all_reduce(grad)
    return {"loss": loss, "grads": {name: grad / world for name, grad in grads.items()}}


CASES: dict[str, tuple[int, tuple[Any, ...]]] = {
    "2 of 6 heads": (2, (2, False, False, False)),
    "2 of 6 heads, padded": (2, (2, False, False, True)),
    "2 shards": (2, (1, True, False, True)),
    "2 shards, recomputed": (2, (1, True, True, True)),
    "2 shards that share a sequence, recomputed": (2, (2, True, True, True)),
    "2 of 6 heads, padded sound": (2, (2, False, False, True, "sound")),
    "2 shards that share a sound, recomputed": (2, (2, True, True, True, "sound")),
    "3 of 6 heads": (3, (3, False, False, False)),
    "3 of 6 heads, padded": (3, (3, False, False, True)),
    "4, of which pairs exchange heads": (4, (4, False, False, True)),
}
"""World size; the degree of sequences, whether the weights are sharded, units recomputed, and streams padded; what is
made, if not video."""


@pytest.fixture(scope="module")
def on_all_ranks(tmp_path_factory: pytest.TempPathFactory) -> CasesOnRanks:
    return CasesOnRanks(tmp_path_factory.mktemp("ranks"), on_rank, CASES)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_those_of_one_process(name: str, on_all_ranks: CasesOnRanks) -> None:
    loss, grads = step(made(*CASES[name][1][4:]), padded=CASES[name][1][3])
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in grads.values()]))
    for answer in on_all_ranks.answers(name):
        torch.testing.assert_close(answer["loss"], loss, rtol=1e-5, atol=0)
        assert answer["grads"].keys() == grads.keys()
        worst = max(float((answer["grads"][name] - grads[name]).abs().max()) for name in grads)
        assert worst <= 1e-5 * float(norm)
