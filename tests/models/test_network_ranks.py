"""Shares of the sequence and of the weights change nothing: forward, loss and gradients, on real processes."""

import pytest
import torch
from gradients import Step, averaged, close_step
from ranks import CasesOnRanks
from stepped import NETWORKS

from talkies.checkpoints.spans import whole
from talkies.parallel.config import ComputeConfig
from talkies.parallel.mesh import Mesh
from talkies.parallel.sequence import SequenceGroups

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]


def on_rank(network: str, degree: int, shard: bool, checkpointing: bool) -> Step:
    """A rank's loss, and the gradients after what DDP and FSDP do."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    world, stepped = dist.get_world_size(), NETWORKS[network]
    mesh = Mesh(
        device=torch.device("cpu"),
        weights=init_device_mesh("cpu", (world,), mesh_dim_names=("shard",)) if shard else None,
        sequence=SequenceGroups("cpu", world, degree) if degree > 1 else None,
        data_rank=0,
        data_world=1,
    )
    loss, grads = stepped.step(stepped.arranged(ComputeConfig(checkpointing=checkpointing), mesh))
    return (loss, {name: whole(grad) for name, grad in grads.items()}) if shard else averaged((loss, grads))


LAYOUTS = {
    "2 share a sequence": (2, 2, False, False),
    "2 shards": (2, 1, True, False),
    "2 shards, recomputed": (2, 1, True, True),
    "2 shards that share a sequence, recomputed": (2, 2, True, True),
    "3 share a sequence": (3, 3, False, False),
    "4 share a sequence": (4, 4, False, False),
    "4 share two sequences": (4, 2, False, False),
}
"""World size, the degree of sequences, whether the weights are sharded, and units recomputed. The networks have 6 heads
(MOVA 2), so that of 4 ranks which share a sequence, pairs exchange heads."""
ON: dict[str, tuple[str, ...]] = {
    "2 share a sequence": (
        "CogVideoX",
        "Mirage",
        "Mirage, padded",
        "Mirage audio, padded",
        "MTV",
        "MTV by interval",
        "MTV without rotations",
        "MTV on Wan",
    ),
    "2 shards": ("Mirage, padded",),
    "2 shards, recomputed": ("Mirage, padded", "MTV", "MTV on Wan by interval"),
    "2 shards that share a sequence, recomputed": (
        "CogVideoX, padded",
        "Mirage, padded",
        "Mirage audio, padded",
        "MTV",
        "MTV on Wan",
    ),
    "3 share a sequence": ("CogVideoX, padded", "Mirage", "Mirage, padded", "MTV", "MTV on Wan by interval"),
    "4 share a sequence": ("CogVideoX", "Mirage, padded", "MTV by interval", "MOVA, padded"),
    "4 share two sequences": ("MOVA",),
}
"""Layout -> the networks on it."""
CASES = {
    f"{network}: {layout}": (LAYOUTS[layout][0], (network, *LAYOUTS[layout][1:]))
    for layout, networks in ON.items()
    for network in networks
}


@pytest.fixture(scope="module")
def on_all_ranks(tmp_path_factory: pytest.TempPathFactory) -> CasesOnRanks:
    return CasesOnRanks(tmp_path_factory.mktemp("ranks"), on_rank, CASES)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_those_of_one_process(name: str, on_all_ranks: CasesOnRanks) -> None:
    expected = NETWORKS[CASES[name][1][0]].step()
    for answer in on_all_ranks.answers(name):
        close_step(answer, expected)
