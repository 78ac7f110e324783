"""Every layout trains like one process: gradients of the first step, weights after a few, in real processes."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from gradients import close_gradients
from ranks import CasesOnRanks
from tiny_shards import tiny_shards
from tiny_training import train

from talkies.parallel.config import DdpConfig, Fsdp2Config

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]

ALL = [
    DdpConfig(replicate=2),
    Fsdp2Config(shard=2),
    Fsdp2Config(shard=2, sequence=2),
    Fsdp2Config(replicate=2, shard=2),
    Fsdp2Config(replicate=2, shard=2, sequence=2),
    Fsdp2Config(shard=4, sequence=2),
    Fsdp2Config(shard=4, sequence=4),
]
LAYOUTS = {"-".join(map(str, asdict(layout).values())): layout for layout in ALL}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_shards(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def alone(shards: Path) -> dict[int, dict[str, Any]]:
    return {accumulate: train(str(shards), DdpConfig(), accumulate) for accumulate in (1, 2)}


def accumulated(layout: DdpConfig | Fsdp2Config) -> int:
    return 2 if layout.ranks == 2 else 1


@pytest.fixture(scope="module")
def on_all_ranks(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> CasesOnRanks:
    cases = {name: (c.ranks, (str(shards), c, accumulated(c))) for name, c in LAYOUTS.items()}
    return CasesOnRanks(tmp_path_factory.mktemp("ranks"), train, cases)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_trains_like_one_process(
    layout: str, alone: dict[int, dict[str, Any]], on_all_ranks: CasesOnRanks
) -> None:
    expected, answers = alone[accumulated(LAYOUTS[layout])], on_all_ranks.answers(layout)
    for answer in answers:
        close_gradients(answer["grads"], expected["grads"])  # of the active expert alone
        torch.testing.assert_close(answer["norm"], expected["norm"], rtol=1e-9, atol=0)
        for name, weight in expected["weights"].items():
            assert float((answer["weights"][name] - weight).abs().max()) <= 1e-9, name
    each = [torch.tensor(answer["losses"]) for answer in answers]
    means = torch.stack(each).mean(0)
    torch.testing.assert_close(means, torch.tensor(expected["losses"]).view(-1), rtol=1e-5, atol=0)
