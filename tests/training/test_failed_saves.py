"""A disk that is full during training: warnings and retries, and the run ends only if it must."""

import os
import resource
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from ranks import on_ranks
from tiny_phase import fit, same
from torch import nn

from talkies.checkpoints.store import LATEST, CheckpointStore, CheckpointWarning
from talkies.config import StorageError, UserError
from talkies.data.shards import ShardSet
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import world_of
from talkies.training.async_writer import AsyncWriter
from talkies.training.checkpoint_callback import CheckpointCallback

DISK_MB = 80  # a little more than three checkpoints of the toy
Build = Callable[[], nn.Module]


@pytest.fixture
def disk(file_system: Callable[[str], Path]) -> Path:
    return file_system(f"size={DISK_MB}m")


class Fills(Callback):
    """Fills the disk after step `full`, and makes room again after step `free`."""

    def __init__(self, disk: Path, full: int, free: int | None = None) -> None:
        self.filler, self.full, self.free = disk / "filler", full, free

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step in (self.full, self.free):
            for checkpoint_callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(checkpoint_callback, CheckpointCallback):
                    checkpoint_callback._writer.wait()
        if trainer.global_step == self.full:
            with self.filler.open("wb") as handle:
                os.posix_fallocate(handle.fileno(), 0, os.statvfs(self.filler).f_bavail * 4096)
        if trainer.global_step == self.free:
            self.filler.unlink()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.fault("10", "disk full on checkpoint", injected="a tmpfs of 80 MB, full for one of four checkpoints")
def test_a_periodic_checkpoint_may_fail_and_the_next_one_is_tried(
    shards: ShardSet, build: Build, disk: Path, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    whole, _, _ = fit(shards, build, tmp_path / "whole", 8, checkpoint_every=100)
    run = disk / "run"
    with pytest.warns(
        CheckpointWarning, match=r"step 4 was not saved, 1 of 3 .*No space left .* bytes are needed"
    ) as warned:
        phase, _, _ = fit(shards, build, run, 8, extra=[Fills(disk, 3, 5)], checkpoint_every=2)
    assert len([x for x in warned if x.category is CheckpointWarning]) == 1
    assert left(run) == [LATEST, "step-00000006", "step-00000008"]
    assert CheckpointStore(run).latest() == run / "step-00000008"
    assert same(dict(whole.model.state_dict()), dict(phase.model.state_dict()))
    record_outcome("one warning, the next checkpoint is written, weights as undisturbed", steps_lost=0)


@pytest.mark.fault("10", "disk full on checkpoint", injected="a tmpfs of 80 MB, full from step 3 on")
def test_too_many_in_a_row_end_the_run(
    shards: ShardSet, build: Build, disk: Path, record_outcome: Callable[..., None]
) -> None:
    run = disk / "run"
    with (
        pytest.warns(CheckpointWarning, match=r"not saved, [12] of 2 in a row") as warned,
        pytest.raises(StorageError, match="No space left") as error,
    ):
        fit(shards, build, run, 40, extra=[Fills(disk, 3)], checkpoint_every=2, saved_as={"failed_saves": 2})
    assert error.value.exit_code == 74
    assert [str(x.message).split(",")[0] for x in warned if x.category is CheckpointWarning] == [
        f"checkpoint: step {n} was not saved" for n in (4, 6)
    ]
    assert left(run) == [LATEST, "step-00000002"]
    assert CheckpointStore(run).latest() == run / "step-00000002"
    record_outcome("two warnings, then exit 74; the checkpoint before is intact, no file is left over")


class Ends(Callback):
    """Sends a signal in the step after `step`."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_zero_grad(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.fault("10", "disk full on checkpoint", injected="a tmpfs of 80 MB, full when the last save is due")
@pytest.mark.parametrize("end", ["signal", "stop-at", "last step"])
def test_the_save_that_ends_a_run_may_not_fail(
    shards: ShardSet, build: Build, disk: Path, record_outcome: Callable[..., None], end: str
) -> None:
    run, extra = disk / "run", [Fills(disk, 3), *([Ends(4)] if end == "signal" else [])]
    with pytest.raises(StorageError, match=r"step-0000000[56]\.tmp: No space left"):
        fit(shards, build, run, 6, extra=extra, stop_at=5 if end == "stop-at" else None, checkpoint_every=3)
    assert left(run) == [LATEST, "step-00000003"]
    record_outcome(f"{end}: exit 74 at once, the checkpoint before is intact")


def test_any_other_error_of_a_save_ends_the_run(shards: ShardSet, build: Build, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(NotADirectoryError):
        fit(shards, build, tmp_path / "run", 40, checkpoint_every=2)


def writes(folder: str) -> dict[str, Any]:
    """Write five checkpoints, four of which rank 1 cannot write; return what this rank has seen."""
    world = world_of()
    writer = AsyncWriter(
        CheckpointStore(Path(folder)), Ranks(world), keep=2, may_fail=3, protect=lambda _: False, saved=lambda *_: None
    )
    state = {"model": {f"w{world.rank}": torch.zeros(50_000)}, "optimizer": {}, "ema": {}, "loop": {}, "generators": {}}
    seen: dict[str, Any] = {"steps": []}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(1, 6):
            if world.rank == 1 and step == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
            try:
                writer.start(step, state, needed=False)
                writer.wait()
            except UserError as error:
                seen |= {"error": str(error), "code": error.exit_code}
                break
            seen["steps"].append(step)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    seen["warned"] = len([x for x in caught if x.category is CheckpointWarning])
    return seen


@pytest.mark.ranks
@pytest.mark.timeout(600)
@pytest.mark.fault("10", "disk full on checkpoint", injected="RLIMIT_FSIZE in one of two ranks")
def test_a_disk_that_is_full_for_one_rank_is_full_for_all(tmp_path: Path, record_outcome: Callable[..., None]) -> None:
    folder = tmp_path / "run"
    main, other = on_ranks(tmp_path, 2, writes, str(folder))
    assert main["steps"] == other["steps"] == [1, 2, 3]
    assert main["code"] == other["code"] == 74
    assert (main["warned"], other["warned"]) == (3, 0)
    assert "storage: cannot write" in main["error"]
    assert left(folder) == [LATEST, "step-00000001"]
    record_outcome("all ranks continue, and all end with 74 at the third failure in a row")
