"""Clips that cannot be read during training: counted once, in the file and in the checkpoints, and limited."""

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damaged import garbage
from lightning import Trainer
from tiny_phase import Ids, phase_of, steps
from torch import Tensor, nn

from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.store import CheckpointStore
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.resilience.quarantine import Quarantine, QuarantineError
from talkies.training.after_step import after_step
from talkies.training.checkpoint_callback import rewind
from talkies.training.config import EmaConfig

pytestmark = [pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")]
RecordOutcome = Callable[..., None]


class Run:
    """A run in `folder`, of as many attempts as it takes."""

    def __init__(self, folder: Path, shards: ShardSet, build: Callable[[], nn.Module]) -> None:
        self.folder, self.shards, self.build = folder, shards, build
        self.file = folder / "quarantine.jsonl"
        self.counts: list[tuple[int, int]] = []
        self.seen: list[Any] = []
        self.weights: dict[str, Tensor] = {}

    def fit(
        self, count: int = 8, *, stop_at: int | None = None, share: float = 1.0, every: int = 3, **more: int
    ) -> None:
        """Continue to step `stop_at` or `count`."""
        self.folder.mkdir(exist_ok=True)
        store, workers = CheckpointStore(self.folder / "checkpoints"), more.pop("workers", 0)
        planned, latest = steps(count, **more), store.latest()
        self.data = ClipsData(self.shards, seed=7, global_batch=4, accumulate=planned.accumulate, workers=workers)
        phase, seen = phase_of(self.build, planned), Ids()
        quarantine = Quarantine(
            self.data, self.file, share=share, every=every, last=count,
            sink=lambda count, step: self.counts.append((count, step)),
        )  # fmt: skip
        after = after_step(
            store, planned, EmaConfig(), self.data, resume=latest, stop_at=stop_at, quarantine=quarantine
        )
        trainer = Trainer(
            accelerator="cpu", max_epochs=-1, max_steps=count, accumulate_grad_batches=planned.accumulate,
            callbacks=[seen, quarantine, *after.callbacks], logger=False, enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0,
        )  # fmt: skip
        if latest is not None:
            rewind(trainer, self.data, read_loop(latest))
        try:
            trainer.fit(phase, datamodule=self.data)
        finally:
            self.seen += seen.seen
        self.weights = {name: p.detach().clone() for name, p in phase.model.state_dict().items()}

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]


@pytest.mark.fault("14", "corrupted data sample", injected="garbage in one record, a run stopped twice and resumed")
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_was_stopped_makes_the_same_substitutions_bitwise(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, workers: int, record_outcome: RecordOutcome
) -> None:
    garbage(shards.folder, 5)
    whole, parts = (Run(tmp_path / name, shards, build) for name in ("whole", "parts"))
    whole.fit()
    began = time.perf_counter()
    for stop in (2, 5, None):
        parts.fit(stop_at=stop, workers=workers)
    took = (time.perf_counter() - began) / 3
    assert len(whole.seen) == 8
    assert not any("clip-5" in ids for _, ids, _, _ in whole.seen)
    assert parts.seen == whole.seen
    assert all(torch.equal(parts.weights[name], value) for name, value in whole.weights.items())
    assert parts.counts == whole.counts
    assert [count for count, _ in whole.counts] == [1], "reported once, not per attempt"
    assert parts.lines() == whole.lines()
    (line,) = whole.lines()
    assert line.keys() == {"id", "shard", "reason", "substitute", "step"}
    assert (line["id"], line["shard"]) == ("clip-5", "shard-00001.safetensors")
    first = next(step for step, ids, visits, _ in whole.seen if max(visits) > 1000)
    assert line["step"] == first
    assert line["substitute"] in whole.seen[first - 1][1]
    latest = CheckpointStore(parts.folder / "checkpoints").latest()
    assert latest is not None
    assert read_loop(latest)["data"]["quarantined"] == ["clip-5"]
    record_outcome("the run counts 1; resumed twice: same ids, losses and weights, bitwise", steps_lost=0, back_s=took)


def test_a_checkpoint_between_two_reports_holds_what_was_found_before_it(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    garbage(shards.folder, 5)
    run = Run(tmp_path / "run", shards, build)
    run.fit(stop_at=3, every=100)
    latest = CheckpointStore(run.folder / "checkpoints").latest()
    assert latest is not None
    assert read_loop(latest)["data"]["quarantined"] == ["clip-5"]
    assert run.counts == [], "a stop reports nothing that an uninterrupted run would not report"
    run.fit(every=100)
    assert run.counts == [(1, 8)]


def test_damage_during_a_run_is_handled_like_damage_before_it(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    sound, late, early = (Run(tmp_path / name, shards, build) for name in ("sound", "late", "early"))
    sound.fit()
    for i in range(len(shards)):
        shards.read(i)  # every file is open
    garbage(shards.folder, 5)
    late.fit()
    early.shards = ShardSet.open(shards.folder, verify=False)
    early.fit()
    assert late.seen == early.seen
    assert late.seen != sound.seen


@pytest.mark.parametrize(("every", "step"), [(3, 3), (100, 8)])
def test_beyond_the_budget_a_run_ends_at_the_next_report(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, every: int, step: int
) -> None:
    for clip in (2, 5, 9):
        garbage(shards.folder, clip)
    run = Run(tmp_path / "run", shards, build)
    message = (
        rf"^data: 3 of the 11 clips of {shards.folder} could not be read, and `survival\.quarantine\.share` 0\.2 "
        rf"allows 2; {run.file} names them\. .*: raise the share to continue, or copy "
        rf"the shards again .* start with --new$"
    )
    with pytest.raises(QuarantineError, match=message) as error:
        run.fit(share=0.2, every=every)
    assert error.value.exit_code == 65
    assert run.seen[-1][0] == step
    assert {line["id"] for line in run.lines()} == {"clip-2", "clip-5", "clip-9"}


@pytest.mark.slow
def test_a_larger_budget_continues_from_the_last_checkpoint(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    for clip in (2, 5, 9):
        garbage(shards.folder, clip)
    whole, run = Run(tmp_path / "whole", shards, build), Run(tmp_path / "run", shards, build)
    whole.fit(checkpoint_every=2)
    with pytest.raises(QuarantineError):
        run.fit(share=0.2, checkpoint_every=2)
    run.fit(checkpoint_every=2)
    assert all(torch.equal(run.weights[name], value) for name, value in whole.weights.items())
    assert len(run.lines()) == 3


def test_a_line_that_a_kill_cut_off_is_written_again_and_no_other_twice(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    for clip in (2, 5, 9):
        garbage(shards.folder, clip)
    run = Run(tmp_path / "run", shards, build)
    run.fit()
    written = run.file.read_bytes()
    os.truncate(run.file, len(written) - 20)
    (run.folder / "checkpoints").rename(run.folder / "lost")
    run.fit()
    assert sorted(run.file.read_bytes().splitlines()) == sorted(written.splitlines())


def test_warnings_are_few(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for clip in range(8):
        garbage(shards.folder, clip)
    with caplog.at_level(logging.WARNING, logger="talkies"):
        Run(tmp_path / "run", shards, build).fit(every=8)
    texts = [record.getMessage() for record in caplog.records if "talkies" in record.name]
    assert sum("stands in for it" in text for text in texts) == 5
    assert texts[-1].startswith("data: 8 clips are replaced so far; ")
    assert len(texts) == 6


def test_an_unwritable_record_does_not_end_a_run(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    garbage(shards.folder, 5)
    run = Run(tmp_path / "run", shards, build)
    run.file.mkdir(parents=True)
    run.fit()
    assert "cannot write" in caplog.text
    assert run.counts == [(1, 3)]
    run.file.rmdir()
    garbage(shards.folder, 6)
    run.fit(12)
    assert [line["id"] for line in run.lines()] == ["clip-6"]
