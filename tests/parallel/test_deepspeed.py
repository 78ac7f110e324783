"""DeepSpeed's engine, on the CPU and not the CUDA path: it trains like one process, and its checkpoints are ours."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import on_ranks
from tiny_shards import tiny_shards
from tiny_training import SgdPhase, refused, train
from torch import Tensor

from talkies.checkpoints.release import read_release
from talkies.config import CheckpointError
from talkies.parallel.config import ComputeConfig, DdpConfig, DeepspeedConfig, Fsdp2Config, Layout
from talkies.training.phase import Phase

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
        train(shards, layout, accumulate, dtype=torch.float32, compute=compute, kind=SgdPhase)
        for layout, accumulate, compute in TRAINED
    ]


def test_every_stage_trains_like_one_process_on_the_cpu_not_the_cuda_path(shards: str, tmp_path: Path) -> None:
    """Gradients within 1e-5 of their norm; weights after 4 steps of SGD within 1e-9 or one unit in the last place
    of fp32, whichever is more."""
    alone = {k: train(shards, ALONE, k, dtype=torch.float32, kind=SgdPhase) for k in (1, 2)}
    ranks = on_ranks(tmp_path, 2, trained, shards)
    for number, (layout, accumulate, _) in enumerate(TRAINED):
        expected, answers = alone[accumulate], [answers[number] for answers in ranks]
        norm = float(torch.linalg.vector_norm(torch.stack([g.norm() for g in expected["grads"].values()])))
        for answer in answers:
            assert answer["grads"].keys() == expected["grads"].keys(), layout
            for name, grad in expected["grads"].items():
                assert float((answer["grads"][name] - grad).abs().max()) <= 1e-5 * norm, (layout, name)
            torch.testing.assert_close(answer["norm"], expected["norm"], rtol=1e-6, atol=0)
            for name, weight in expected["weights"].items():
                close = {"rtol": 1.2e-7, "atol": 1e-9, "msg": f"{layout} {name}"}
                torch.testing.assert_close(answer["weights"][name], weight, **close)
        losses = torch.tensor([answer["losses"] for answer in answers]).mean(0)
        torch.testing.assert_close(losses, torch.tensor(expected["losses"]), rtol=1e-5, atol=0, msg=str(layout))


INACTIVE = [DeepspeedConfig(stage=2, shard=2), DeepspeedConfig(stage=3, shard=2, offload=True)]


def with_inactive_expert(shards: str) -> list[list[dict[str, Tensor]]]:
    """Weights after 2 and 3 steps of AdamW with weight decay; the third step trains the high-noise expert."""
    fixed = {"dtype": torch.float32}
    return [[train(shards, layout, count=count, **fixed)["weights"] for count in (2, 3)] for layout in INACTIVE]


def test_the_inactive_expert_is_unchanged(shards: str, tmp_path: Path) -> None:
    """Bitwise, although it has momentum; ZeRO fills its gradients with zeros."""
    for two, three in on_ranks(tmp_path, 2, with_inactive_expert, shards)[0]:
        moved = {name.split(".")[0] for name in two if not torch.equal(two[name], three[name])}
        assert moved == {"video_high", "audio", "bridge"}


STOPS: list[tuple[DeepspeedConfig, list[tuple[int | None, int]]]] = [
    (DeepspeedConfig(stage=1, shard=2, offload=True), [(2, 0), (None, 0)]),
    (DeepspeedConfig(stage=2, shard=2), [(1, 0), (3, 2), (4, 0), (None, 0)]),
    (DeepspeedConfig(stage=3, shard=2), [(3, 0), (None, 0)]),
    (DeepspeedConfig(stage=3, shard=2, offload=True), [(2, 0), (None, 0)]),
]
"""Layouts, and the steps where each stops (within a pass over the data, and at its end) and its loader workers."""


def resumed(shards: str, folder: str) -> list[dict[str, Any]]:
    """5 steps of 2 micro-batches, without and with stops."""
    found = []
    for number, (layout, stops) in enumerate(STOPS):
        fixed = {"count": 5, "dtype": torch.float32}
        one = train(shards, layout, 2, folder=f"{folder}/one{number}", **fixed)
        several = [
            train(shards, layout, 2, folder=f"{folder}/several{number}", stop_at=stop, workers=workers, **fixed)
            for stop, workers in stops
        ]
        found.append({"one": one, "last": several[-1], "ids": [batch for part in several for batch in part["ids"]]})
    return found


def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one_bitwise(shards: str, tmp_path: Path) -> None:
    for answers in on_ranks(tmp_path, 2, resumed, shards, str(tmp_path)):
        for (layout, _), answer in zip(STOPS, answers, strict=True):
            assert answer["ids"] == answer["one"]["ids"]
            for kind in ("weights", "ema"):
                for name, value in answer["one"][kind].items():
                    assert torch.equal(answer["last"][kind][name], value), (layout, kind, name)


CHAIN: list[tuple[int, list[tuple[Layout, int]]]] = [
    (2, [(DeepspeedConfig(stage=3, shard=2), 2), (Fsdp2Config(shard=2), 3), (DeepspeedConfig(stage=2, shard=2), 4)]),
    (1, [(DdpConfig(), 5)]),
    (4, [(DeepspeedConfig(stage=1, shard=4), 6), (DeepspeedConfig(stage=3, shard=4, sequence=2), 7)]),
]
"""Number of processes, and the layouts on which they train in turn, each up to a step."""


def link(shards: str, folder: str, layouts: list[tuple[Layout, int]]) -> list[dict[str, Any]]:
    fixed = {"folder": folder, "count": 7, "dtype": torch.float32}
    return [train(shards, layout, stop_at=stop if stop < 7 else None, **fixed) for layout, stop in layouts]


def test_a_checkpoint_of_any_stage_continues_on_any_layout(shards: str, tmp_path: Path) -> None:
    """The same clips in every step, losses within 1e-5: the number of ranks may change under ZeRO, too."""
    expected = train(shards, ALONE, folder=str(tmp_path / "alone"), count=7, dtype=torch.float32)
    folder = str(tmp_path / "run")
    clips: list[set[str]] = []
    losses: list[Tensor] = []
    for world, layouts in CHAIN:
        arguments = (shards, folder, layouts)
        here = [link(*arguments)] if world == 1 else on_ranks(tmp_path, world, link, *arguments)
        for answers in zip(*here, strict=True):
            clips += [set().union(*step) for step in zip(*(answer["ids"] for answer in answers), strict=True)]
            losses.append(torch.tensor([answer["losses"] for answer in answers]).mean(0))
    assert clips == [set(step) for step in expected["ids"]]
    torch.testing.assert_close(torch.cat(losses), torch.tensor(expected["losses"]), rtol=1e-5, atol=0)


class KeptPhase(Phase):
    """Makes DeepSpeed write a checkpoint of its own at the end."""

    folder: str

    def on_train_end(self) -> None:
        self.trainer.strategy.model.save_checkpoint(self.folder)


def broken(shards: str, folder: str) -> list[dict[str, Any]]:
    """Training whose second step has an infinite gradient on one rank; and DeepSpeed's own checkpoint."""
    KeptPhase.folder = folder
    train(shards, DeepspeedConfig(stage=2, shard=2), count=1, dtype=torch.float32, kind=KeptPhase)
    return [refused(shards, DeepspeedConfig(stage=stage, shard=2)) for stage in (2, 3)]


def test_a_gradient_that_is_not_finite_makes_no_step_on_any_rank(shards: str, tmp_path: Path) -> None:
    own = tmp_path / "deepspeed"
    for answers in on_ranks(tmp_path, 2, broken, shards, str(own)):
        for answer in answers:
            assert "optimizer step 2: the gradient norm is inf (DeepSpeed)" in answer["error"]
            for name, value in answer["before"].items():
                assert torch.equal(answer["after"][name], value), name
    with pytest.raises(CheckpointError, match=r"pickled by 2 ranks and readable by as many: python .*zero_to_fp32\.py"):
        read_release(own)
