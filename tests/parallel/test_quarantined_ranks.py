"""Several processes, one of which reads a bad clip: the same steps, substitutes, record and end for all."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from damaged import garbage
from ranks import on_ranks
from tiny_shards import tiny_shards
from tiny_training import train

from talkies.parallel.config import DdpConfig, Layout
from talkies.parallel.world import world_of
from talkies.resilience.quarantine import QuarantineError
from talkies.training.phase import Phase

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]
TWO = DdpConfig(replicate=2)
STEPS = 6


class LateDamage(Phase):
    """A phase whose shards are damaged when its training begins; it counts its steps."""

    harm: Callable[[], None]
    begun = 0

    def on_fit_start(self) -> None:
        super().on_fit_start()
        LateDamage.harm()

    def training_step(self, batch: Any, number: int) -> dict[str, object]:
        LateDamage.begun += 1
        return super().training_step(batch, number)


def limited(shards: str, layout: Layout, folder: str, share: float, bad: list[int]) -> dict[str, Any]:
    """The error when more clips become unreadable during training than allowed, and the steps until then."""

    def harm() -> None:
        if world_of().main:
            for clip in bad:
                garbage(Path(shards), clip)
        dist.barrier()

    LateDamage.harm = staticmethod(harm)
    with pytest.raises(QuarantineError) as error:
        train(shards, layout, folder=folder, share=share, dtype=torch.float32, count=6, kind=LateDamage)
    return {"error": str(error.value), "steps": LateDamage.begun}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tiny_shards(tmp_path / "tiny")
    garbage(folder, 5)
    return folder


def two(shards: str, folder: str, stop: int | None) -> dict[str, Any]:
    """On two ranks: six steps, or up to `stop`."""
    return train(shards, TWO, folder=folder, count=STEPS, stop_at=stop, share=0.2)


@pytest.mark.fault("14", "corrupted data sample", injected="garbage in one record, two ranks, stopped and resumed")
def test_two_ranks_make_the_steps_and_the_samples_of_one(
    shards: Path, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    (tmp_path / "alone").mkdir()
    alone = train(str(shards), DdpConfig(), folder=str(tmp_path / "alone"), count=STEPS, share=0.2)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = on_ranks(tmp_path / "a", 2, two, str(shards), str(tmp_path / "whole"), None)
    first = on_ranks(tmp_path / "b", 2, two, str(shards), str(tmp_path / "parts"), 4)
    began = time.perf_counter()
    second = on_ranks(tmp_path / "c", 2, two, str(shards), str(tmp_path / "parts"), None)
    took = time.perf_counter() - began
    assert [len(answer["ids"]) for answer in whole] == [STEPS, STEPS], "the same number of steps, each of a full batch"
    for step, ids in enumerate(alone["ids"]):
        parts = [answer["ids"][step] for answer in whole]
        assert [len(part) for part in parts] == [4, 4]
        assert {sample for part in parts for sample in part} == set(ids)
    assert not any(sample.startswith("clip-5/") for ids in alone["ids"] for sample in ids)
    for one, before, after in zip(whole, first, second, strict=True):
        assert before["ids"] + after["ids"] == one["ids"]
        assert before["losses"] + after["losses"] == one["losses"]
        assert all(torch.equal(after["weights"][name], value) for name, value in one["weights"].items())
    assert [answer["quarantined"] for answer in (*whole, *second)] == [["clip-5"]] * 4, "all ranks know"
    assert [len(answer["counts"]) for answer in whole] == [1, 0], "the main process reports it once"
    assert whole[0]["counts"][0][0] == 1
    lists = [(tmp_path / name / "quarantine.jsonl").read_text() for name in ("alone", "whole", "parts")]
    assert lists[0] == lists[1] == lists[2]
    (line,) = lists[0].splitlines()
    assert json.loads(line)["id"] == "clip-5"
    record_outcome(
        "2 ranks: as many steps; stopped and resumed: the same, bitwise; the run counts 1", steps_lost=0, back_s=took
    )


@pytest.mark.fault("15", "corrupted or missing whole shard", injected="beyond the budget while two ranks train")
def test_beyond_the_budget_all_ranks_end_at_the_same_step(
    shards: Path, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    """The shards are damaged after every process has opened them."""
    (tmp_path / "run").mkdir()
    began = time.perf_counter()
    answers = on_ranks(tmp_path / "d", 2, limited, str(shards), TWO, str(tmp_path / "run"), 0.3, [0, 1, 2])
    took = time.perf_counter() - began
    assert answers[0] == answers[1]
    assert answers[0]["steps"] == 3
    assert "4 of the 11 clips of" in answers[0]["error"]
    assert "allows 3" in answers[0]["error"]
    record_outcome("all ranks end at the same step with exit 65: count, budget, key, list", back_s=took)
