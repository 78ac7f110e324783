"""A frozen base in bf16 trains its adapter as one in fp32 on every layout, in real processes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from held_masters import trained
from ranks import CasesOnRanks
from tiny_shards import tiny_shards

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]

LAYOUTS = {
    "ddp": "{kind: ddp, replicate: 2}",
    "fsdp2": "{kind: fsdp2, shard: 2}",
    "sequence": "{kind: fsdp2, shard: 2, sequence: 2}",
    "zero2": "{kind: deepspeed, shard: 2, stage: 2}",
    "zero3": "{kind: deepspeed, shard: 2, stage: 3}",
}


@pytest.fixture(scope="module")
def on_two(tmp_path_factory: pytest.TempPathFactory) -> CasesOnRanks:
    shards = str(tiny_shards(tmp_path_factory.mktemp("tiny")))
    cases = {
        f"{name} {masters}": (2, (shards, masters, layout))
        for name, layout in LAYOUTS.items()
        for masters in ("fp32", "bf16")
    }
    return CasesOnRanks(tmp_path_factory.mktemp("ranks"), trained, cases)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_adapter_over_a_bf16_base_trains_bitwise_as_over_fp32(layout: str, on_two: CasesOnRanks) -> None:
    wide, half = (on_two.answers(f"{layout} {masters}") for masters in ("fp32", "bf16"))
    for one, other in zip(half, wide, strict=True):
        assert one["losses"] == other["losses"]
        for part in ("grads", "weights", "moments"):
            assert one[part].keys() == other[part].keys()
            for name, value in one[part].items():
                assert value.dtype == torch.float32
                assert torch.equal(value, other[part][name]), (part, name)
        assert len(one["weights"]) > 10
        assert set(other["base"].values()) == {"torch.float32"}
        assert set(one["base"].values()) == {"torch.float32", "torch.bfloat16"}


def test_shards_of_a_bf16_base_train_as_one_process(on_two: CasesOnRanks, tmp_path: Path) -> None:
    """Under FSDP2 blocks have bf16 norms and no autocast, so that they equal those of one process within bf16."""
    alone: dict[str, Any] = trained(str(tiny_shards(tmp_path)), "bf16", "{kind: ddp}")
    answers = on_two.answers("fsdp2 bf16")
    means = torch.tensor([answer["losses"] for answer in answers]).mean(0)
    torch.testing.assert_close(means, torch.tensor(alone["losses"]), rtol=5e-3, atol=0)
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in alone["grads"].values()]))
    for name, grad in alone["grads"].items():
        assert float((answers[0]["grads"][name] - grad).norm()) <= 2e-2 * float(norm), name
