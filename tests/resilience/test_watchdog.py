"""A rank that hangs is named and ended; a slow one is not, and the watchdog disturbs nothing."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from lightning import Callback, Trainer
from tiny_phase import phase_of, steps
from torch import nn

from talkies.checkpoints.store import CheckpointStore
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.evaluation.validation import ValidationCallback
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.resilience.activity import (
    BACKWARD,
    BUILDING,
    CHECKPOINT,
    FORWARD,
    LOADING,
    OPTIMIZER,
    REPORTING,
    RESTORING,
    Activity,
    Steps,
)
from talkies.resilience.config import WatchdogConfig
from talkies.resilience.heartbeat import ENDED, last_hang, pulse, read_beats
from talkies.resilience.watchdog import Watchdog
from talkies.training.after_step import StopCallback, after_step
from talkies.training.checkpoint_callback import CheckpointCallback
from talkies.training.config import EmaConfig
from talkies.training.metrics import TrainingMetrics

pytestmark = pytest.mark.timeout(600)
PROGRAM = Path(__file__).with_name("watched_rank.py")
LIMIT_S = 4.0
UNHURRIED_S = 12.0
"""The limit of ranks that do not hang: a busy machine must not make them."""
Build = Callable[[], nn.Module]


def two_ranks(run: Path, how: str, *, limit_s: float = LIMIT_S, **environment: str) -> tuple[int, list[str], float]:
    """Exit code, our lines on stderr, and the seconds from the fault to the end."""
    run.mkdir()
    command = [sys.executable, str(PROGRAM), str(run), how, str(limit_s)]
    own = {**os.environ, **environment}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=own, timeout=200)
    lines = [line for line in done.stderr.splitlines() if line.startswith("talkies: ")]
    return done.returncode, lines, time.time() - float((run / "began").read_text())


@pytest.mark.ranks
@pytest.mark.parametrize("how", ["slept", "locked", "stopped"])
@pytest.mark.fault("20", "hang on one rank", injected="rank 1 sleeps, with Python's lock free or held, or is stopped")
def test_the_rank_that_is_behind_is_named_and_all_end(
    tmp_path: Path, how: str, record_outcome: Callable[..., None]
) -> None:
    """The fastest of three tries: the machine may be busy."""
    taken: list[float] = []
    while len(taken) < 3 and min(taken, default=LIMIT_S + 10) >= LIMIT_S + 10:
        run = tmp_path / f"run-{len(taken)}"
        code, lines, seconds = two_ranks(run, how)
        taken.append(seconds)
    assert seconds < LIMIT_S + 10, taken
    (line,) = lines
    assert code != 0
    assert "hang: rank 1 of 2 has been in " in line
    assert "after step 5 for " in line
    assert "rank 0 in the backward pass" in line
    assert ("stopped, or it holds Python's lock" in line) == (how != "slept"), line
    assert str(last_hang(run)).partition(" UTC: ")[2] == line.removeprefix("talkies: ")
    (waits,) = run.glob("hangs/*-rank-0.txt")
    assert "gather" in waits.read_text()
    (stacks,) = run.glob("hangs/*-rank-1.txt")
    assert str(stacks) in line
    if how == "slept":
        assert code == 71
        assert "the forward pass" in line
    if how != "stopped":  # nothing of such a process runs
        assert f'watched_rank.py", line {line_of(how)} in {how}' in stacks.read_text()
    record_outcome(
        f"rank 1 named, stacks of both, code {code}, {seconds:.1f} s at a limit of {LIMIT_S:g} s", back_s=seconds
    )


def line_of(how: str) -> int:
    """The line on which rank 1 hangs."""
    lines = PROGRAM.read_text().splitlines()
    return lines.index(f"def {how}() -> None:") + 3


@pytest.mark.ranks
@pytest.mark.fault("20", "hang on one rank, under Slurm", injected="rank 1 sleeps; scontrol is a program that counts")
def test_the_job_is_queued_again_once_though_both_ranks_find_the_hang(
    tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    asked, scontrol = tmp_path / "asked", tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\nsleep 2\necho "$@" >> {asked}\n')
    scontrol.chmod(0o755)
    path = f"{scontrol.parent}:{os.environ['PATH']}"
    job = {"TALKIES_REQUEUE": "1", "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_RESTART_COUNT": "1"}
    code, lines, _ = two_ranks(tmp_path / "run", "slept", PATH=path, **job)
    assert code == 71
    assert asked.read_text() == "requeue 77\n"
    assert [line for line in lines if "hang: rank 1 of 2" in line] == lines[:1]
    record_outcome("one `scontrol requeue 77`")


@pytest.mark.ranks
def test_a_step_and_a_validation_below_the_limit_are_no_hang(tmp_path: Path) -> None:
    code, lines, _ = two_ranks(tmp_path / "run", "slow", limit_s=UNHURRIED_S)
    assert (code, lines) == (0, [])
    assert not (tmp_path / "run" / "hangs").exists()
    assert pulse(tmp_path / "run") is None
    assert [beat.phase for beat in read_beats(tmp_path / "run")] == [ENDED, ENDED]


class Followed(Activity):
    """Keeps every phase that it has been in."""

    def __init__(self) -> None:
        super().__init__()
        self.phases: list[str] = []

    def _move(self, phase: str, step: int | None = None) -> None:
        super()._move(phase, step)
        self.phases.append(phase)


def watched_fit(
    shards: ShardSet, build: Build, run: Path, *others: Callback, workers: int = 0, work: Activity | None = None,
    resume: Path | None = None, most: int = 4,
) -> None:  # fmt: skip
    """A fit of one process, as runs/train.py composes it."""
    work, durations = work or Activity(), steps(most, checkpoint_every=2)
    data = ClipsData(shards, seed=7, global_batch=4, workers=workers)
    metrics = TrainingMetrics(every=2, bins=2, sink=lambda *_: None, own=work.own)
    after = after_step(CheckpointStore(run / "checkpoints"), durations, EmaConfig(), data, resume=resume)
    trainer = Trainer(
        accelerator="cpu", max_epochs=-1, max_steps=most, profiler=work, logger=False, enable_checkpointing=False,
        callbacks=[Steps(work), metrics, *after.callbacks, *others], enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    with Watchdog(WatchdogConfig(), run, work, Ranks(ALONE)):
        trainer.fit(phase_of(build, durations), datamodule=data)


def ours() -> list[str]:
    """The threads of a watchdog."""
    return [thread.name for thread in threading.enumerate() if thread.name in {"heartbeat", "watchdog", "hang report"}]


class Look(Callback):
    """Looks at threads and heartbeats after every step; raises `error` if there is one."""

    def __init__(self, run: Path, error: BaseException | None = None) -> None:
        self.run, self.error = run, error
        self.threads: list[str] = []
        self.pids: set[int] = set()

    def on_train_batch_end(self, *_: Any) -> None:
        self.threads = ours()
        self.pids = {beat.pid for beat in read_beats(self.run)}
        if self.error is not None:
            raise self.error


def test_every_phase_of_a_fit_is_distinguished(shards: ShardSet, build: Build, tmp_path: Path) -> None:
    """The names are Lightning's: this fails if another version renames its actions."""
    work = Followed()
    watched_fit(shards, build, tmp_path, work=work)
    needed = [BUILDING, LOADING, FORWARD, BACKWARD, OPTIMIZER, REPORTING, CHECKPOINT]
    assert [phase for phase in needed if phase not in work.phases] == []
    first = work.phases.index(LOADING)
    order = [phase for phase in work.phases[first : first + 15] if phase in needed]
    assert order[:6] == [LOADING, OPTIMIZER, FORWARD, OPTIMIZER, BACKWARD, OPTIMIZER]
    assert RESTORING in work.phases
    assert work.stepped
    assert work.now.step == 4


def test_as_many_moves_in_every_process(shards: ShardSet, build: Build, tmp_path: Path) -> None:
    """The rank with fewer moves is behind: their number must depend on the work alone."""
    counted = []
    for name in ("a", "b"):
        work = Activity()
        watched_fit(shards, build, tmp_path / name, work=work)
        counted.append(work.now.moves)
    assert counted[0] == counted[1]


@pytest.mark.parametrize("error", [None, ValueError("broken"), KeyboardInterrupt()], ids=["well", "error", "ctrl-c"])
def test_the_watch_ends_with_the_fit(
    shards: ShardSet, build: Build, tmp_path: Path, error: BaseException | None
) -> None:
    """Twice in a process, as in a curriculum."""
    for number in range(2):
        look = Look(tmp_path / str(number), error)
        if error is None:
            watched_fit(shards, build, look.run, look)
        else:
            with pytest.raises((ValueError, KeyboardInterrupt, SystemExit)):
                watched_fit(shards, build, look.run, look)
        assert sorted(look.threads) == ["heartbeat", "watchdog"]
        assert look.pids == {os.getpid()}
        assert ours() == []
        assert [beat.phase for beat in read_beats(look.run)] == [ENDED]
        assert not (look.run / "hangs").exists()


def test_workers_of_the_loader_have_no_watch(
    shards: ShardSet, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ShardSet.read

    def looked(self: ShardSet, *args: Any) -> Any:
        (tmp_path / f"worker-{os.getpid()}").write_text(" ".join(ours()))
        return read(self, *args)

    monkeypatch.setattr(ShardSet, "read", looked)
    look = Look(tmp_path / "run")
    watched_fit(shards, build, look.run, look, workers=2)
    workers = {int(path.name.partition("-")[2]): path.read_text() for path in tmp_path.glob("worker-*")}
    assert len(workers) == 2
    assert os.getpid() not in workers
    assert set(workers.values()) == {""}
    assert look.pids == {os.getpid()}


def test_an_unwritable_heartbeat_does_not_end_a_run(shards: ShardSet, build: Build, tmp_path: Path) -> None:
    (tmp_path / "heartbeats").write_text("in the way")
    (tmp_path / "hangs").write_text("in the way")
    watched_fit(shards, build, tmp_path)
    assert CheckpointStore(tmp_path / "checkpoints").steps() == [2, 4]


ALONE_PROGRAM = """
import ctypes, os, sys, time
from pathlib import Path
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.resilience.config import WatchdogConfig
from talkies.resilience.watchdog import Watchdog
from talkies.resilience.activity import Activity
work = Activity()
limits = WatchdogConfig(first_s=6.0, later_s=1.0)
with Watchdog(limits, Path(sys.argv[1]), work, Ranks(ALONE), lambda: os.write(1, b"asked ")):
    time.sleep(2)  # a compiler: the first step has not ended
    work.at(1, stepped=True)
    with work.profile("[_TrainingEpochLoop].train_dataloader_next"):
        {hang}
"""


def alone(run: Path, hang: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", ALONE_PROGRAM.format(hang=hang), str(run)]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=200)


def test_a_single_process_reports_its_own_hang(tmp_path: Path) -> None:
    """Twice the later limit before the first step is no hang."""
    done = alone(tmp_path, "time.sleep(600)")
    assert done.returncode == 71
    (stacks,) = tmp_path.glob("hangs/*-rank-0.txt")
    assert "<string>" in stacks.read_text()
    assert re.fullmatch(
        r"talkies: hang: the process has been in loading data after step 1 for \d+ s; the limit is 1 s "
        rf"\(`survival\.watchdog`\); stacks: {re.escape(str(stacks))}; the same command continues from the last "
        r"checkpoint\n",
        done.stderr,
    )
    assert done.stdout == "asked "


BLOCKED = {
    (
        "hangs",
    ): "rank 0 has been in loading data after step 1 for more than 1 s; its stacks are not in .*: .*File exists",
    ("hangs", "heartbeats"): "rank 0 has been in loading data after step 1 for more than 1 s; its stacks are not in ",
    ("heartbeats",): "no rank moves, and which one is behind is not known: no heartbeat can be read; the limit is 1 s",
}


@pytest.mark.parametrize(
    ("blocked", "message"),
    [pytest.param(*case, marks=() if len(case[0]) == 2 else pytest.mark.slow) for case in BLOCKED.items()],
)
def test_a_hang_is_reported_without_a_disk(tmp_path: Path, blocked: tuple[str, ...], message: str) -> None:
    """And `on_hang` queues the job again."""
    for name in blocked:
        (tmp_path / name).write_text("in the way")
    done = alone(tmp_path, "time.sleep(600)")
    assert done.returncode == 71
    (line,) = done.stderr.splitlines()
    assert re.match(f"talkies: hang: {message}", line)
    assert done.stdout == "asked "


@pytest.mark.slow
def test_a_process_alone_that_holds_pythons_lock_leaves_its_stacks_on_stderr(tmp_path: Path) -> None:
    done = alone(tmp_path, "ctypes.PyDLL(None).sleep(600)")
    assert done.returncode == 1
    assert done.stderr.startswith("Timeout (0:00:0")
    line = ALONE_PROGRAM.splitlines().index("        {hang}") + 1
    assert f'File "<string>", line {line} in <module>' in done.stderr


def test_callbacks_declare_activities_for_their_own_hooks() -> None:
    declared = {
        (owner, hook)
        for owner in (CheckpointCallback, StopCallback, TrainingMetrics, ValidationCallback)
        for hook in owner.activities
    }
    assert [(owner, hook) for owner, hook in declared if hook not in vars(owner)] == []


def test_a_callback_of_any_name_declares_its_activity() -> None:
    class Renamed(Callback):
        activities: ClassVar = {"on_train_end": "a long farewell"}

    activity = Activity()
    activity.follow([Renamed()])
    with activity.profile(f"[Callback]{Renamed().state_key}.on_train_end"):
        assert activity.now.activity == "a long farewell"
