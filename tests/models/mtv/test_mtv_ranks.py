"""Shares of the sequence and of the weights change nothing: forward, loss and gradients, on real processes."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mtv_toy import condition, streams, toy, video
from torch import Tensor

from talkies.checkpoints.spans import whole
from talkies.models.mtv.network import Mtv, MtvNetwork
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig
from talkies.parallel.mesh import Mesh
from talkies.parallel.sequence import SequenceGroups

sys.path.append(str(Path(__file__).parents[2] / "parallel"))  # a spawned process imports this file, too
from ranks import CasesOnRanks

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]


def step(model: Mtv) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one backward pass of 5 latent steps of 6 tokens: slices of 2, 3 and 4 ranks cut a step.
    Speech is masked for a part of one sample; CogVideoX has a noise level for every step."""
    torch.manual_seed(2)
    given = streams(model) | {"video": video(levels=torch.rand(2, 5) if model.shape.cogvideox else None, steps=5)}
    given["speech"] = replace(given["speech"], mask=torch.arange(19) < torch.tensor([[19], [9]]))
    loss = model(given, condition())["video"].square().mean()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


KEYS: dict[str, dict[str, Any]] = {
    "pooled": {"speakers": 2},
    "by interval": {"music": "interval", "injection": "shared", "intervals": 2},
}


def on_rank(degree: int, shard: bool, checkpointing: bool, backbone: str, keys: str) -> dict[str, Any]:
    """A rank's loss, and the gradients after what DDP and FSDP do."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    world, model = dist.get_world_size(), toy(backbone, **KEYS[keys])
    mesh = Mesh(
        device=torch.device("cpu"),
        weights=init_device_mesh("cpu", (world,), mesh_dim_names=("shard",)) if shard else None,
        sequence=SequenceGroups("cpu", world, degree) if degree > 1 else None,
        data_rank=0,
        data_world=1,
    )
    compute = ComputeConfig(checkpointing=checkpointing)
    arrange(model, [*MtvNetwork().units(model)], mesh, compute, bf16=False)
    loss, grads = step(model)
    if shard:
        return {"loss": loss, "grads": {name: whole(grad) for name, grad in grads.items()}}
    for grad in grads.values():
        dist.all_reduce(grad)
    return {"loss": loss, "grads": {name: grad / world for name, grad in grads.items()}}


CASES: dict[str, tuple[int, tuple[int, bool, bool, str, str]]] = {
    "2 of 6 heads": (2, (2, False, False, "cogvideox", "pooled")),
    "2 of 6 heads, Wan": (2, (2, False, False, "wan", "pooled")),
    "2 of 6 heads, by interval": (2, (2, False, False, "cogvideox", "by interval")),
    "2 of 6 heads, without rotations": (2, (2, False, False, "cogvideox-sincos", "by interval")),
    "2 shards, recomputed": (2, (1, True, True, "cogvideox", "pooled")),
    "2 shards, recomputed, Wan": (2, (1, True, True, "wan", "by interval")),
    "2 shards that share a sequence, recomputed": (2, (2, True, True, "cogvideox", "pooled")),
    "2 shards that share a sequence, recomputed, Wan": (2, (2, True, True, "wan", "pooled")),
    "3 of 6 heads": (3, (3, False, False, "cogvideox", "pooled")),
    "3 of 6 heads, Wan": (3, (3, False, False, "wan", "by interval")),
    "4, of which pairs exchange heads": (4, (4, False, False, "cogvideox", "by interval")),
}
"""World size; the degree of sequences, whether the weights are sharded, units recomputed; the backbone and the keys of
the control."""


@pytest.fixture(scope="module")
def on_all_ranks(tmp_path_factory: pytest.TempPathFactory) -> CasesOnRanks:
    return CasesOnRanks(tmp_path_factory.mktemp("ranks"), on_rank, CASES)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_those_of_one_process(name: str, on_all_ranks: CasesOnRanks) -> None:
    *_, backbone, keys = CASES[name][1]
    loss, grads = step(toy(backbone, **KEYS[keys]))
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in grads.values()]))
    for answer in on_all_ranks.answers(name):
        torch.testing.assert_close(answer["loss"], loss, rtol=1e-5, atol=0)
        assert answer["grads"].keys() == grads.keys()
        worst = max(float((answer["grads"][name] - grads[name]).abs().max()) for name in grads)
        assert worst <= 1e-5 * float(norm)
