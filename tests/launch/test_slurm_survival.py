"""On a real Slurm: runs that are preempted, reach their time limit or lose their node still end as undisturbed ones."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import NODES, wait_for
from mlflow import MlflowClient
from toys import AUDIO, TINY, TWO, Toys, ids, job, scontrol, wait_for_checkpoint, wait_to_end

from talkies.checkpoints.release import read_release
from talkies.cli.main import run
from talkies.launch.attempts import read_attempts
from talkies.launch.slurm import run as command

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]
LAST = 240
SHARDED = ["parallel.kind=fsdp2", "parallel.shard=2"]
STEPS = f"steps.max={LAST}"


def weights(folder: Path) -> dict[str, str]:
    """The hashes of the weight files of a run's release."""
    files = read_release(folder / "release")["files"]
    return {name: entry["sha256"] for name, entry in files.items() if name.endswith(".safetensors")}


def uninterrupted(toys: Toys, runs: Path, *words: str, processes: int) -> Path:
    """The same phase without Slurm: in one process, or under torchrun."""
    command = ["train", str(AUDIO), f"data.root={toys.data}", *TINY, STEPS, *words, "--runs", str(runs), "--quiet"]
    if processes == 1:
        assert run(command) == 0
    else:
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
        words = [sys.executable, *start, "talkies.cli.main", *command]
        subprocess.run(words, check=True, capture_output=True, env=environment)
    (folder,) = runs.glob("audio_pretraining-*/0001")
    return folder


def check_tracking(toys: Toys, folder: Path, status: str = "FINISHED") -> None:
    """One MLflow run over all attempts, with every step once."""
    assert run(["replay", str(folder)]) == 0
    client = MlflowClient(f"sqlite:///{toys.runs / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments()]
    (found,) = client.search_runs(experiments, f"tags.run_folder = '{folder}'")
    assert found.info.run_id == json.loads((folder / "run.json").read_text())["mlflow_run_id"]
    assert found.info.status == status
    if status == "FINISHED":
        steps = [point.step for point in client.get_metric_history(found.info.run_id, "train/loss")]
        assert sorted(steps) == [*range(2, LAST + 1, 2)]


@pytest.mark.parametrize("two", [[*TWO, "seed=11"], [*SHARDED, "seed=21"]], ids=["ddp", "fsdp2"])
@pytest.mark.fault("4", "SIGUSR1 inside a step", injected="scancel --signal=USR1 on a real Slurm, two nodes")
def test_a_preempted_run_continues_in_the_same_run_bitwise(
    toys: Toys, tmp_path: Path, two: list[str], record_outcome: Callable[..., None]
) -> None:
    """Two nodes under srun, signalled in the middle, compared with two undisturbed processes of torchrun."""
    folder = toys.phase(toys.site(), STEPS, *two, "slurm.nodes=2")
    wait_for_checkpoint(folder)
    command("scancel", "--signal=USR1", ids(folder)[-1])
    assert wait_to_end(folder).restarts == 1
    first, second = read_attempts(folder).made
    assert (first.step, first.restart, second.restart) == (0, 0, 1)
    assert 20 <= second.step < LAST
    (log,) = (folder / "slurm").glob("*.out")
    assert f"stopped by SIGUSR1 after step {second.step}" in log.read_text(), "it saved at the signal"
    assert log.read_text().count("queues itself again") == 1
    assert weights(folder) == weights(uninterrupted(toys, tmp_path, *two, processes=2))
    check_tracking(toys, folder)
    record_outcome("real Slurm: saved, requeued once, one MLflow run; equal, bitwise", steps_lost=0)


HANG = """
step = module.Phase.training_step
def training_step(self, *args):
    if self.global_step == 25:
        time.sleep(9999)
    return step(self, *args)
module.Phase.training_step = training_step
"""
"""Rank 1 of the first attempt hangs in its 26th step."""


@pytest.mark.fault("20", "hang on one rank, Slurm", injected="rank 1 sleeps for ever in step 26, on two nodes")
def test_a_run_that_hangs_is_requeued_once_and_continues_bitwise(
    toys: Toys, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    """Both ranks detect the hang; the second attempt is undisturbed."""
    site = toys.site_with(HANG, module="talkies.training.phase", rank=1)
    limits = ["survival.watchdog.later_s=10", "survival.watchdog.first_s=200"]
    folder = toys.phase(site, STEPS, *TWO, *limits, "slurm.nodes=2", "seed=15")
    assert wait_to_end(folder).restarts == 1
    first, second = read_attempts(folder).made
    assert (first.step, second.step) == (0, 20)
    (log,) = (folder / "slurm").glob("*.out")
    assert log.read_text().count("hang: rank 1 of 2 has been in the forward pass after step 25 for 1") == 1
    assert log.read_text().count("hangs and is queued again") == 1
    assert [*folder.glob("hangs/*-rank-1.txt")]
    assert weights(folder) == weights(uninterrupted(toys, tmp_path, *TWO, "seed=15", processes=2))
    check_tracking(toys, folder)
    record_outcome("requeued once, continued in the same MLflow run, bitwise", steps_lost=25 - second.step)


def test_a_run_that_loses_its_node_continues_from_its_checkpoint_bitwise(toys: Toys, tmp_path: Path) -> None:
    folder = toys.phase(toys.site(), STEPS, "seed=12")
    wait_for_checkpoint(folder)
    output = command("scontrol", "-o", "show", "job", ids(folder)[-1])
    (lost,) = [name for name in NODES if f" NodeList={name} " in output]
    scontrol("update", f"nodename={lost}", "state=down", "reason=test")
    assert wait_to_end(folder).restarts == 1
    first, second = read_attempts(folder).made
    assert (first.step, second.step > 0) == (0, True), "Slurm ends what still runs there, and that saves"
    assert weights(folder) == weights(uninterrupted(toys, tmp_path, "seed=12", processes=1))
    check_tracking(toys, folder)
    scontrol("update", f"nodename={lost}", "state=resume")
    wait_for(lambda: command("sinfo", "-h", "-N", "-o", "%t").split().count("idle") == len(NODES), "both nodes")


def test_a_run_longer_than_its_time_limit_requeues_itself(toys: Toys) -> None:
    """The limit is one minute, and training takes longer; Slurm checks its limits every half minute."""
    folder = toys.phase(toys.site(), "steps.max=100000", "slurm.time=00:01:00", "seed=13")
    known = ids(folder)[-1]
    wait_for(lambda: any(made.step for made in read_attempts(folder).made), "an attempt from a checkpoint", 240)
    wait_for_checkpoint(folder, after=read_attempts(folder).made[-1].step)
    assert " TimeLimit=00:01:00 " in command("scontrol", "-o", "show", "job", known)
    (log,) = (folder / "slurm").glob("*.out")
    assert "stopped by SIGUSR1 after step" in log.read_text()
    assert run(["cancel", known, "--runs", str(toys.runs)]) == 0
    wait_to_end(folder, "CANCELLED")


@pytest.mark.fault("25", "requeue storm", injected="scontrol requeue on a real Slurm, before a new checkpoint")
def test_three_requeues_without_progress_hold_the_job(
    toys: Toys, capsys: pytest.CaptureFixture[str], record_outcome: Callable[..., None]
) -> None:
    """The hold is shown in the run's folder, in `status` and in MLflow; a release allows three more. (The first requeue
    comes during training, and leaves a checkpoint.)"""
    folder = toys.phase(toys.site(), "steps.max=100000", "steps.checkpoint_every=100000", "seed=14")
    known = ids(folder)[-1]
    wait_for((folder / "run.json").exists, "the MLflow run")
    for count in range(2, 7):
        scontrol("requeue", known)
        wait_for(lambda count=count: len(read_attempts(folder).made) == count, f"attempt {count}")
        if read_attempts(folder).held is not None:
            break
    wait_for(lambda: job(folder).state == "PENDING" and "held" in job(folder).reason.lower(), "a held job")
    made = read_attempts(folder).made
    assert len({attempt.step for attempt in made[-4:]}) == 1
    assert made[0].step == 0
    capsys.readouterr()
    assert run(["status", str(folder)]) == 0
    assert f"job {known} is held: 3 requeues in a row without a new checkpoint (the newest: " in capsys.readouterr().out
    check_tracking(toys, folder, "FAILED")
    scontrol("release", known)
    wait_for(lambda: len(read_attempts(folder).made) == len(made) + 1, "the attempt after the release")
    assert read_attempts(folder).held is None
    assert run(["cancel", known, "--runs", str(toys.runs)]) == 0
    wait_to_end(folder, "CANCELLED")
    record_outcome("real Slurm: held with its reason, the MLflow run FAILED")
