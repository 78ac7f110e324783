"""A Slurm job that is preempted inside a step saves at the end of the step, is requeued once, and continues.

(On a real Slurm: tests/launch/test_slurm_survival.py.)
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from same_run import check_same, status
from training_runs import STEPS, TrainingRun, killed

from talkies.checkpoints.loop import read_loop

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
PLACES = ("training_step", "optimizer_step", "zero_grad")
WITHIN_S = 30.0
"""From the signal to the end of the process: Slurm's default; the wait for the uploader takes up to 10 s of it."""


@pytest.mark.fault(
    "4", "SIGUSR1 inside a step", injected="os.kill in training_step, before optimizer.step, in zero_grad"
)
def test_a_preemption_inside_a_step(
    tmp_path: Path, data: Path, whole: TrainingRun, record_outcome: Callable[..., None]
) -> None:
    """A program in place of scontrol records its arguments, one per line."""
    called, programs = tmp_path / "called", tmp_path / "programs"
    programs.mkdir()
    (programs / "scontrol").write_text(f'#!/bin/sh\nprintf "%s\\n" scontrol "$@" >> {called}\n')
    (programs / "scontrol").chmod(0o755)
    job = {"TALKIES_REQUEUE": "1", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "4242"}
    job["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    broken = TrainingRun(runs=tmp_path / "runs", data=data, words={"steps.checkpoint_every": 100, "steps.keep": 9})
    seconds, back = [], []
    for count, place in enumerate(PLACES):
        done = 4 * count + 2
        fault = killed(done, name="SIGUSR1", where=place)
        attempt = broken.attempt(fault, environment={**job, "SLURM_RESTART_COUNT": str(count)})
        assert attempt.code == 0, attempt.err
        assert attempt.steps[-1] == done + 1, "the current step ends, and no other begins"
        assert broken.store.steps() == [4 * n + 3 for n in range(count + 1)], "saved at the end of that step only"
        loop = read_loop(broken.store.path(done + 1))
        assert (loop["step"], loop["data"]["consumed"]) == (done + 1, (done + 1) * 4)
        assert called.read_text() == "scontrol\nrequeue\n4242\n"
        called.unlink()
        assert f"stopped by SIGUSR1 after step {done + 1}" in attempt.out
        assert not (broken.folder / "result.json").exists()
        assert status(broken) == "KILLED"
        seconds.append(attempt.ended - attempt.fault_times[0])
        back.append(attempt.back_s)
    assert max(seconds) < WITHIN_S
    last = broken.attempt(environment={**job, "SLURM_RESTART_COUNT": "3"})
    assert last.code == 0, last.err
    assert not called.exists()
    assert last.steps[-1] == STEPS
    assert check_same(broken, whole) == []
    outcome = f"saved at the step's end, requeued once, exit 0 within {max(seconds):.1f} s; all equal, bitwise"
    record_outcome(outcome, steps_lost=0, back_s=max([*back[1:], last.back_s]))
