"""DeepSpeed's engine, on the CPU and not the CUDA path: trains as one process does, and its checkpoints are ours."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import on_ranks
from tiny_shards import tiny_shards
from tiny_training import train

from talkies.parallel.config import ComputeConfig, DdpConfig, DeepspeedConfig, Fsdp2Config, Layout

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]

ALONE = DdpConfig()
CHECKED = ComputeConfig(checkpointing=True)
TRAINED = [
    (DeepspeedConfig(stage=1, shard=2), 2, None),
    (DeepspeedConfig(stage=2, shard=2), 2, CHECKED),
    (DeepspeedConfig(stage=3, shard=2), 2, CHECKED),
    (DeepspeedConfig(stage=3, shard=2), 1, None),
    (DeepspeedConfig(stage=2, shard=2, sequence=2), 1, None),
    (DeepspeedConfig(stage=3, shard=2, sequence=2), 1, None),
    (DeepspeedConfig(stage=1, shard=2, offload=True), 1, None),
    (DeepspeedConfig(stage=3, shard=2, offload=True), 2, None),
]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_shards(tmp_path_factory.mktemp("tiny")))


def trained(shards: str) -> list[dict[str, Any]]:
    return [
        train(shards, layout, accumulate, dtype=torch.float32, compute=compute, sgd=True)
        for layout, accumulate, compute in TRAINED
    ]


def test_every_stage_trains_as_one_process_on_the_cpu_not_the_cuda_path(shards: str, tmp_path: Path) -> None:
    """Gradients within 1e-5 of their norm; weights after 4 steps of SGD within 2 units in the last place of fp32. The
    resting expert's are bitwise what they were before its turn, which 4 steps with weight decay would show."""
    alone = {k: train(shards, ALONE, k, dtype=torch.float32, sgd=True) for k in (1, 2)}
    for answers in on_ranks(tmp_path, 2, trained, shards):
        for (layout, accumulate, _), answer in zip(TRAINED, answers, strict=True):
            expected = alone[accumulate]
            norm = float(torch.linalg.vector_norm(torch.stack([g.norm() for g in expected["grads"].values()])))
            assert answer["grads"].keys() == expected["grads"].keys(), layout
            for name, grad in expected["grads"].items():
                assert float((answer["grads"][name] - grad).abs().max()) <= 1e-5 * norm, (layout, name)
            torch.testing.assert_close(answer["norm"], expected["norm"], rtol=1e-6, atol=0)
            for name, weight in expected["weights"].items():
                torch.testing.assert_close(answer["weights"][name], weight, rtol=2.4e-7, atol=1.5e-8, msg=f"{layout} {name}")


def resumed(shards: str, folder: str, stage: int, offload: bool) -> dict[str, Any]:
    """5 steps without a stop, and with stops in the middle and at the end of a pass over the data."""
    layout = DeepspeedConfig(stage=stage, shard=2, offload=offload)  # type: ignore[arg-type]
    one = train(shards, layout, 2, folder=f"{folder}/one", count=5, dtype=torch.float32)
    parts = [
        train(
            shards, layout, 2, folder=f"{folder}/several", count=5, stop_at=stop, workers=workers, dtype=torch.float32
        )
        for stop, workers in ((1, 0), (3, 2), (4, 0), (None, 2))
    ]
    return {"one": one, "last": parts[-1], "ids": [batch for part in parts for batch in part["ids"]]}


def all_resumed(shards: str, folder: str) -> list[dict[str, Any]]:
    return [resumed(shards, f"{folder}/{s}{o}", s, o) for s, o in ((1, True), (2, False), (3, False), (3, True))]


def test_stops_and_resumes_are_bitwise_no_stop_at_all(shards: str, tmp_path: Path) -> None:
    for answers in on_ranks(tmp_path, 2, all_resumed, shards, str(tmp_path)):
        for answer in answers:
            assert answer["ids"] == answer["one"]["ids"]
            for kind in ("weights", "ema"):
                for name, value in answer["one"][kind].items():
                    assert torch.equal(answer["last"][kind][name], value), (kind, name)


CHAIN: list[tuple[Layout, int, int]] = [
    (DeepspeedConfig(stage=3, shard=2), 2, 2),
    (Fsdp2Config(shard=2), 2, 3),
    (DeepspeedConfig(stage=2, shard=2), 2, 4),
    (DdpConfig(), 1, 5),
    (DeepspeedConfig(stage=1, shard=4), 4, 6),
    (DeepspeedConfig(stage=3, shard=2, sequence=2), 2, 7),
]


def until(shards: str, layout: Layout, folder: str, stop: int) -> dict[str, Any]:
    last = CHAIN[-1][2]
    return train(shards, layout, folder=folder, count=last, stop_at=None if stop == last else stop, dtype=torch.float32)


def test_a_checkpoint_of_any_stage_continues_on_any_layout(shards: str, tmp_path: Path) -> None:
    """The same clips in every step, losses within 1e-5: no ZeRO world is fixed."""
    expected = train(shards, ALONE, folder=str(tmp_path / "alone"), count=CHAIN[-1][2], dtype=torch.float32)
    folder, clips, losses = str(tmp_path / "run"), [], []
    for number, (layout, world, stop) in enumerate(CHAIN):
        if world == 1:
            answers = [until(shards, layout, folder, stop)]
        else:
            answers = on_ranks(tmp_path / str(number), world, until, shards, layout, folder, stop)
        clips += [set().union(*step) for step in zip(*(answer["ids"] for answer in answers), strict=True)]
        losses.append(torch.tensor([answer["losses"] for answer in answers]).mean(0))
    assert clips == [set(step) for step in expected["ids"]]
    torch.testing.assert_close(torch.cat(losses), torch.tensor(expected["losses"]), rtol=1e-5, atol=0)
