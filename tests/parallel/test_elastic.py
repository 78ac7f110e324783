"""A checkpoint continues on any layout with the same clips and losses, and bitwise on the same layout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import CasesOnRanks, on_ranks
from tiny_shards import tiny_shards
from tiny_training import train
from torch import Tensor

from talkies.parallel.config import DdpConfig, Fsdp2Config
from talkies.training.config import LoraConfig

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]

Layout = DdpConfig | Fsdp2Config
FOUR = Fsdp2Config(replicate=2, shard=2)
SEQUENCE = Fsdp2Config(shard=2, sequence=2)
ALONE = DdpConfig()
TWO = [DdpConfig(replicate=2), Fsdp2Config(shard=2), SEQUENCE]


def chain(shards: str, folder: str, stages: list[tuple[Layout, int, int]]) -> list[dict[str, Any]]:
    """In these processes: train to the step of each stage with its loader workers, each stage with a new trainer."""
    last = stages[-1][1]
    return [
        train(shards, layout, folder=folder, count=last, stop_at=stop if stop < last else None, workers=workers)
        for layout, stop, workers in stages
    ]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_shards(tmp_path_factory.mktemp("tiny")))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def batches(answers: list[dict[str, Any]], readers: int) -> list[set[str]]:
    """The global batch of every step, from the ranks' shares."""
    own = [answer["ids"] for answer in answers[:: len(answers) // readers]]
    return [set().union(*(ids[step] for ids in own)) for step in range(len(own[0]))]


@pytest.fixture(scope="module")
def on_all_ranks(shards: str, tmp_path_factory: pytest.TempPathFactory) -> CasesOnRanks:
    """Five steps at once, and with stops within one pass over the 11 clips and at its end, each with other workers."""
    folder, cases = tmp_path_factory.mktemp("turns"), {}
    for layout in TWO:
        parts = [(layout, 1, 0), (layout, 3, 2), (layout, 5, 0)]
        for name, stages in (("whole", [(layout, 5, 0)]), ("parts", parts)):
            cases[f"{layout} {name}"] = (2, (shards, str(folder / f"{len(cases)}"), stages))
    return CasesOnRanks(folder, chain, cases)


@pytest.mark.parametrize("layout", TWO, ids=str)
@pytest.mark.fault("d", "EMA resume equality", injected="stops on 2 ranks: DDP, FSDP2, sequence")
def test_stops_and_resumes_on_the_same_layout_change_nothing_bitwise(
    layout: Layout, on_all_ranks: CasesOnRanks, record_outcome: Callable[..., None]
) -> None:
    whole, parts = (on_all_ranks.answers(f"{layout} {name}") for name in ("whole", "parts"))
    for one, several in zip(whole, parts, strict=True):
        assert [loss for stage in several for loss in stage["losses"]] == one[0]["losses"]
        assert same(several[-1]["weights"], one[0]["weights"])
        assert same(several[-1]["ema"], one[0]["ema"])
        assert [point for stage in several for point in stage["points"]] == one[0]["points"]
    assert whole[0][0]["points"]
    record_outcome("EMA equal on every rank, bitwise", steps_lost=0)


@pytest.mark.fault("24", "world size change", injected="4 -> 2 -> 1 -> 4 ranks over gloo")
def test_saved_on_four_ranks_continues_on_two_on_one_and_back(
    shards: str, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    folder = str(tmp_path / "run")
    expected = train(shards, ALONE, folder=str(tmp_path / "alone"), count=5)
    four = on_ranks(tmp_path / "four", 4, train_until, shards, FOUR, folder, 2)
    two = on_ranks(tmp_path / "two", 2, train_until, shards, Fsdp2Config(shard=2), folder, 3)
    one = train_until(shards, ALONE, folder, 4)
    back = on_ranks(tmp_path / "back", 4, train_until, shards, Fsdp2Config(shard=4, sequence=2), folder, 5)
    clips = [set(ids) for ids in expected["ids"]]
    assert batches(four, 4) + batches(two, 2) + batches([one], 1) + batches(back, 2) == clips
    losses = [torch.tensor([x["losses"] for x in stage]).mean(0) for stage in (four, two, [one], back)]
    torch.testing.assert_close(torch.cat(losses), torch.tensor(expected["losses"]), rtol=1e-5, atol=0)
    for name, weight in expected["weights"].items():
        assert float((back[0]["weights"][name] - weight).abs().max()) <= 1e-9, name
        assert float((back[0]["ema"][name] - expected["ema"][name]).abs().max()) <= 1e-6, name
    points = [point for stage in (four[0], two[0], one, back[0]) for point in stage["points"]]
    assert [point[:2] for point in points] == [point[:2] for point in expected["points"]]
    for found, wanted in zip(points, expected["points"], strict=True):
        assert found[2] == pytest.approx(wanted[2], rel=1e-5), found[:2]
    record_outcome("same global batches, losses within 1e-5, weights within 1e-9 (fp64)", steps_lost=0)


@pytest.mark.fault("24", "world size change", injected="1 -> 2 -> 1 and 2 -> 4 ranks over gloo")
def test_one_process_becomes_two_and_one_again(
    shards: str, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    """And two processes become four."""
    expected = train(shards, ALONE, folder=str(tmp_path / "alone"), count=5)
    clips = [set(ids) for ids in expected["ids"]]
    folder, grown = str(tmp_path / "run"), str(tmp_path / "grown")
    one = train_until(shards, ALONE, folder, 2)
    two = on_ranks(tmp_path / "two", 2, train_until, shards, DdpConfig(replicate=2), folder, 3)
    again = train_until(shards, ALONE, folder, 5)
    assert batches([one], 1) + batches(two, 2) + batches([again], 1) == clips
    first = on_ranks(tmp_path / "first", 2, train_until, shards, DdpConfig(replicate=2), grown, 2)
    four = on_ranks(tmp_path / "four", 4, train_until, shards, DdpConfig(replicate=4), grown, 5)
    assert batches(first, 2) + batches(four, 4) == clips
    for stages in (([one], two, [again]), (first, four)):
        losses = torch.cat([torch.tensor([x["losses"] for x in stage]).mean(0) for stage in stages])
        torch.testing.assert_close(losses, torch.tensor(expected["losses"]), rtol=1e-6, atol=0)
        found = stages[-1][0]["weights"]
        assert max(float((found[name] - weight).abs().max()) for name, weight in expected["weights"].items()) <= 1e-9
    record_outcome("same global batches, losses within 1e-6, weights within 1e-9 (fp64)", steps_lost=0)


def adapted(shards: str, folder: str, stops: list[int]) -> list[dict[str, Any]]:
    """LoRA with dropout on two replicas, stopped after `stops`."""
    layout, lora = DdpConfig(replicate=2), LoraConfig(rank=2, dropout=0.5)
    ends = [*stops, 5]
    return [train(shards, layout, folder=folder, count=5, stop_at=s if s < 5 else None, lora=lora) for s in ends]


@pytest.mark.fault("a", "generators per rank", injected="LoRA with dropout 0.5 on 2 ranks, stops after steps 1 and 3")
def test_every_rank_restores_its_own_generator(
    shards: str, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    """Only dropout depends on a generator, and every rank has its own."""
    whole = on_ranks(tmp_path / "a", 2, adapted, shards, str(tmp_path / "whole"), [])
    parts = on_ranks(tmp_path / "b", 2, adapted, shards, str(tmp_path / "parts"), [1, 3])
    for (one,), several in zip(whole, parts, strict=True):
        assert [loss for stage in several for loss in stage["losses"]] == one["losses"]
        assert torch.equal(several[-1]["drawn"], one["drawn"])
        assert same(several[-1]["weights"], one["weights"])
        assert [point for stage in several for point in stage["points"]] == one["points"]
    assert not torch.equal(whole[0][0]["drawn"], whole[1][0]["drawn"])
    record_outcome("every rank's losses, generator and weights equal, bitwise", steps_lost=0)


def train_until(shards: str, layout: Layout, folder: str, stop: int) -> dict[str, Any]:
    return train(shards, layout, folder=folder, count=5, stop_at=stop if stop < 5 else None)
