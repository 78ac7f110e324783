"""Loading streams: a process needs memory for its own part, one tensor, and no more, in whatever dtype it holds it."""

import sys
from pathlib import Path
from typing import Any

import pytest
from loading import LARGEST, WIDE, loaded, release
from ranks import CasesOnRanks

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))

from test_release import INFO

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]

MARGIN = 24 * 2**20
"""Of modules, process groups and what the allocator keeps: with one tensor less than half of the parent, 84 MB."""
BLOCKS = WIDE.layers * (8 * WIDE.dim**2 + 2 * WIDE.dim * WIDE.ffn_dim)
"""Their matrices."""
ADAPTER = ["train={kind: lora, rank: 4}", "parents={base: parent}"]
CASES: dict[str, tuple[int, str, list[str]]] = {
    "alone": (1, "{kind: ddp}", ["parents={base: parent}"]),
    "alone, bf16": (1, "{kind: ddp}", [*ADAPTER, "compute.masters=bf16"]),
    "shards": (2, "{kind: fsdp2, shard: 2}", ["parents={base: parent}"]),
    "shards, bf16": (2, "{kind: fsdp2, shard: 2}", [*ADAPTER, "compute.masters=bf16"]),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> CasesOnRanks:
    folder = tmp_path_factory.mktemp("parent")
    release(folder / "release", {**INFO, "parents": {}})
    cases: dict[str, tuple[int, tuple[Any, ...]]] = {
        name: (world, (str(folder / "release"), layout, overrides))
        for name, (world, layout, overrides) in CASES.items()
    }
    return CasesOnRanks(tmp_path_factory.mktemp("ranks"), loaded, cases)


@pytest.mark.parametrize("name", CASES)
def test_a_process_holds_its_own_part_and_one_tensor(name: str, measured: CasesOnRanks) -> None:
    world, bytes_each = CASES[name][0], 2 if "bf16" in name else 4
    for answer in measured.answers(name):
        assert answer["wrong"] == []
        assert answer["read"] > 50
        assert BLOCKS * bytes_each / world <= answer["own"] < 1.4 * BLOCKS * bytes_each / world
        assert answer["above"] < 4 * LARGEST + MARGIN
