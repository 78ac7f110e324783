"""A loss that is not finite on one rank: every rank skips the same step, whatever the layout."""

import json
from typing import Any

import pytest
import torch
from ranks import CasesOnRanks
from tiny_shards import tiny_shards
from tiny_training import skipped

from talkies.parallel.config import DdpConfig, DeepspeedConfig, Fsdp2Config

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]
LAYOUTS: dict[str, tuple[Any, int]] = {
    "ddp": (DdpConfig(replicate=2), 2),
    "fsdp2": (Fsdp2Config(shard=2), 1),
    "zero-1": (DeepspeedConfig(stage=1, shard=2), 1),
    "zero-2": (DeepspeedConfig(stage=2, shard=2), 2),
    "zero-3": (DeepspeedConfig(stage=3, shard=2), 1),
}


@pytest.fixture(scope="module")
def on_all_ranks(tmp_path_factory: pytest.TempPathFactory) -> CasesOnRanks:
    folder = tmp_path_factory.mktemp("bad")
    shards = str(tiny_shards(folder / "tiny"))
    cases = {name: (2, (shards, c, str(folder / name), k)) for name, (c, k) in LAYOUTS.items()}
    return CasesOnRanks(folder, skipped, cases)


@pytest.mark.fault("17", "NaN loss on one rank", injected="the loss of the last of 2 ranks is made infinite in a step")
@pytest.mark.fault("19", "inf or NaN gradient", injected="the same, under DDP, FSDP2 and ZeRO 1 to 3 (CPU subclass)")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_ranks_skip_the_same_step(layout: str, on_all_ranks: CasesOnRanks, record_outcome: Any) -> None:
    answers = on_all_ranks.answers(layout)
    for rank, answer in enumerate(answers):
        first, second, third, fourth = answer["each"]
        assert [entry["step"] for entry in answer["skipped"]] == [2]
        assert first.keys() == second.keys()
        assert any(name.endswith("/exp_avg") for name in first)
        assert all(torch.equal(first[name], second[name]) for name in first), "no weight has changed, and no moment"
        for before, after in ((second, third), (third, fourth)):
            assert any(not torch.equal(before[name], after[name]) for name in before), "training continues"
            assert all(bool(torch.isfinite(value).all()) for value in after.values())
        assert len(answer["said"]) == (rank == 0), "one process warns"
        assert all(torch.equal(fourth[name], value) for name, value in answers[0]["each"][3].items())
    assert "skipped optimizer step 2: the gradient norm is" in answers[0]["said"][0]
    record = json.loads((on_all_ranks.folder / layout / "step-00000002.json").read_text())
    assert len(record["ranks"]) == 2, "the samples of each rank are recorded"
    assert sum(len(micro["ids"]) for micros in record["ranks"] for micro in micros) == 8
    record_outcome("every rank skips the step; no weight moves", steps_lost=1)
