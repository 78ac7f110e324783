"""Requeues without progress are counted; a job requests its requeue once; the rendezvous of srun's processes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from talkies.config import CheckpointError, RecipeError
from talkies.launch import slurm
from talkies.launch.attempts import FILE, REQUEUE_LIMIT, Attempt, begin, read_attempts
from talkies.launch.job import SlurmJob, this_job
from talkies.launch.rendezvous import meet

TASK = {"TALKIES_REQUEUE": "1", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "7"}


def tried(folder: Path, *steps: int, job: str = "7") -> list[bool]:
    """Whether each of these attempts may continue."""
    count = len(read_attempts(folder).made)
    records = [begin(folder, Attempt(job=job, restart=count + n, step=step)) for n, step in enumerate(steps)]
    return [record.held is None for record in records]


@pytest.mark.fault("25", "requeue storm", injected="four attempts at the same step")
def test_three_requeues_without_a_new_checkpoint_are_the_last(
    tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    assert tried(tmp_path, 0, 0, 0, 0) == [True, True, True, False]
    found = read_attempts(tmp_path)
    assert len(found.made) == REQUEUE_LIMIT + 1
    assert found.held is not None
    assert "job 7 is held: 3 requeues in a row without a new checkpoint (the newest: none)" in found.held
    record_outcome("the fourth attempt is held, with its reason")


@pytest.mark.fault("25", "requeue storm", injected="SLURM_RESTART_COUNT counts on")
def test_restarts_that_could_not_be_recorded_count_too(tmp_path: Path, record_outcome: Callable[..., None]) -> None:
    assert begin(tmp_path, Attempt(job="7", restart=0, step=9)).held is None
    assert begin(tmp_path, Attempt(job="7", restart=2, step=9)).held is None
    assert begin(tmp_path, Attempt(job="7", restart=3, step=9)).held is not None
    record_outcome("restarts that left no record count")


def test_progress_resets_the_count(tmp_path: Path) -> None:
    assert all(tried(tmp_path, 0, 0, 0, 20, 20, 20, 40))
    assert tried(tmp_path, 40, 40, 40) == [True, True, False]
    assert "the newest: step 40" in str(read_attempts(tmp_path).held)


def test_a_release_gives_three_more(tmp_path: Path) -> None:
    tried(tmp_path, 5, 5, 5, 5)
    assert tried(tmp_path, 5, 5, 5, 5) == [True, True, True, False]


def test_another_job_of_the_run_begins_its_own_count(tmp_path: Path) -> None:
    assert all(tried(tmp_path, 0, 0, 0))
    assert all(tried(tmp_path, 0, 0, 0, job="8"))


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"made": [{"jo')
    with pytest.raises(CheckpointError, match=rf"{FILE} is damaged: .* remove it"):
        begin(tmp_path, Attempt(job="1", restart=0, step=0))


@pytest.mark.parametrize("missing", [*TASK])
def test_only_a_task_of_a_job_of_submit_requeues_itself(missing: str) -> None:
    assert this_job(main=False, environment=TASK) == SlurmJob(id="7", restart=0, main=False)
    if missing == "SLURM_JOB_ID":
        assert this_job(main=False, environment={**TASK, "TALKIES_REQUEUE": "0"}) is None
    else:
        assert this_job(main=False, environment={k: v for k, v in TASK.items() if k != missing}) is None


def test_a_job_that_could_not_requeue_itself_fails_at_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RecipeError, match=r"no scontrol in this job.*`slurm\.requeue=false`"):
        this_job(main=True, environment=TASK)
    assert this_job(main=False, environment=TASK) is not None


@pytest.mark.parametrize("main", [True, False])
def test_a_preemption_requeues_the_job_once_and_from_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: bool
) -> None:
    """A program that replaces scontrol records its arguments."""
    fake, calls = tmp_path / "scontrol", tmp_path / "calls"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    job = SlurmJob(id="7", restart=0, main=main)
    job.preempted()
    job.preempted()
    job.requeue()
    assert (calls.read_text() if calls.exists() else "") == ("requeue 7\n" if main else "")


def test_slurm_missing_or_refusing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(slurm.SlurmError, match="no squeue on PATH"):
        slurm.run("squeue")
    fake = tmp_path / "squeue"
    fake.write_text("#!/bin/sh\necho 'squeue: error: no\n way' >&2; exit 1\n")
    fake.chmod(0o755)
    with pytest.raises(slurm.SlurmError, match=r"^slurm: squeue refused: no way$"):
        slurm.run("squeue")


def test_processes_of_srun_meet_on_its_node_at_a_port_of_their_own() -> None:
    task = {"SLURM_JOB_ID": "9", "SLURM_STEP_ID": "0", "SLURM_LAUNCH_NODE_IPADDR": "10.1.2.3", "ENVIRONMENT": "BATCH"}
    found, again = dict(task), {**task, "SLURM_RESTART_COUNT": "1"}
    meet(found)
    meet(again)
    assert found["MASTER_ADDR"] == "10.1.2.3"
    assert 20_000 <= int(found["MASTER_PORT"]) < 32_000
    assert again["MASTER_PORT"] != found["MASTER_PORT"]


def test_a_given_rendezvous_is_kept() -> None:
    for given in ({"SLURM_STEP_ID": "0", "MASTER_ADDR": "here", "MASTER_PORT": "1"}, {"SLURM_JOB_ID": "9"}):
        environment = dict(given)
        meet(environment)
        assert environment == given


def test_srun_outside_of_a_batch_job_needs_an_address() -> None:
    with pytest.raises(RecipeError, match="outside of an sbatch job without MASTER_ADDR"):
        meet({"SLURM_JOB_ID": "9", "SLURM_STEP_ID": "0", "SLURM_LAUNCH_NODE_IPADDR": "10.1.2.3"})
