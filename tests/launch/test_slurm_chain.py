"""On a real Slurm: chains of jobs from submission to their end, also if one fails."""

import json
from pathlib import Path

import pytest
from cluster import wait_for
from mlflow import MlflowClient
from toys import Toys, ids, states, wait_for_checkpoint, wait_to_end

from talkies.cli.main import run
from talkies.launch.attempts import read_attempts
from talkies.launch.slurm import run as command

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def chained(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A curriculum that was submitted, and submitted again while it ran."""
    recipe, site = toys.curriculum("chain"), toys.site()
    folder = toys.submit(recipe, site)
    assert run(["submit", str(recipe), "--site", str(site), "--runs", str(toys.runs)]) == 2, "it is queued already"
    wait_to_end(folder, seconds=400)
    return folder


def test_a_curriculum_is_a_chain_of_jobs_to_its_end(chained: Path, toys: Toys) -> None:
    """Codecs, an array with a task per shard set, a report; then a phase on one node and a phase on two."""
    assert states(chained) == [{"COMPLETED"}] * 5
    for phase in ("1-audio_pretraining", "2-video_pretraining"):
        assert json.loads((chained / phase / "result.json").read_text())["step"] == 6
    logs = {path.name for path in (chained / "slurm").glob("*.out")}
    assert {f"chain.prepare-sets-{ids(chained)[1]}-{task}.out" for task in range(4)} <= logs
    assert "4 sets, 40 clips" in (chained / "slurm" / f"chain.prepare-{ids(chained)[2]}.out").read_text()
    stored = {path.name for path in (chained / "2-video_pretraining" / "checkpoints").rglob("*")}
    assert "generators-00001.safetensors" in stored, "two processes trained it"


def test_the_chain_is_one_mlflow_run_with_its_phases_below(chained: Path, toys: Toys) -> None:
    client = MlflowClient(f"sqlite:///{toys.runs / 'mlflow.db'}")
    (parent,) = (json.loads(path.read_text())["mlflow_run_id"] for path in [chained / "run.json"])
    assert client.get_run(parent).info.status == "FINISHED"
    (experiment,) = [found.experiment_id for found in client.search_experiments() if found.name == "mova-toy"]
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert {(found.info.run_name, found.info.status) for found in children} == {
        ("audio_pretraining", "FINISHED"),
        ("video_pretraining", "FINISHED"),
    }


def test_status_shows_every_job_and_how_far_it_is(
    chained: Path, toys: Toys, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", ids(chained)[3], "--runs", str(toys.runs), "--json"]) == 0
    (status,) = json.loads(capsys.readouterr().out)
    assert status["folder"] == str(chained)
    assert [row["state"] for row in status["jobs"]] == ["COMPLETED", "4 COMPLETED", *["COMPLETED"] * 3]
    assert [(row["step"], row["max"]) for row in status["jobs"][3:]] == [(6, 6), (6, 6)]
    assert "mlflow.db run " in status["jobs"][3]["mlflow"]
    assert run(["status", str(chained / "2-video_pretraining")]) == 0
    assert "chain.video_pretraining  COMPLETED  step 6 of 6" in capsys.readouterr().out


def test_a_failed_phase_cancels_those_after_it(toys: Toys, chained: Path) -> None:
    """The failure is one line in the log; the preparation was reused."""
    broken = toys.curriculum("broken", "audio_pretraining.optimizer.lr.towers=1.0e+30")
    folder = toys.submit(broken, toys.site(prepare={"cpus": 1, "array": 0}))
    wait_to_end(folder, "CANCELLED")
    assert states(folder) == [{"COMPLETED"}, {"FAILED"}, {"CANCELLED"}]
    log = (folder / "slurm" / f"broken.audio_pretraining-{ids(folder)[1]}.out").read_text()
    (line,) = [line for line in log.splitlines() if line.startswith("talkies: ") and "warning" not in line]
    assert "finite" in line


def test_a_refusal_of_slurm_is_one_line_and_leaves_no_job(toys: Toys, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, site = toys.curriculum("refused"), toys.site(partition="nowhere", prepare={"cpus": 1, "partition": "toys"})
    assert run(["submit", str(recipe), "--site", str(site), "--runs", str(toys.runs)]) == 69
    (line,) = capsys.readouterr().err.splitlines()
    assert "invalid partition specified" in line.lower()
    assert "the 3 jobs before it are cancelled" in line
    (record,) = toys.runs.glob("refused-*/*/jobs.json")
    wait_for(lambda: states(record.parent) == [{"CANCELLED"}] * 3, "the end of the first, which may have begun")


def test_a_preempted_phase_keeps_its_place_in_the_chain_and_cancel_ends_it(
    toys: Toys, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next phase keeps waiting while the first is requeued. A cancelled phase saves, but is not requeued."""
    recipe = toys.curriculum("cancelled", "audio_pretraining.steps.max=100000")
    folder = toys.submit(recipe, toys.site(prepare={"cpus": 1, "array": 0}))
    phase = folder / "1-audio_pretraining"
    wait_for_checkpoint(phase)
    command("scancel", "--signal=USR1", ids(folder)[1])
    wait_for(lambda: len(read_attempts(phase).made) == 2, "the second attempt")
    assert states(folder) == [{"COMPLETED"}, {"RUNNING"}, {"PENDING"}]
    wait_for_checkpoint(phase, after=read_attempts(phase).made[1].step)
    capsys.readouterr()
    assert run(["cancel", ids(folder)[-1], "--runs", str(toys.runs)]) == 0
    assert capsys.readouterr().out.endswith(f"cancelled {ids(folder)[2]}, {ids(folder)[1]}\n")
    wait_to_end(folder, "CANCELLED")
    assert states(folder) == [{"COMPLETED"}, {"CANCELLED"}, {"CANCELLED"}]
    log = (folder / "slurm" / f"cancelled.audio_pretraining-{ids(folder)[1]}.out").read_text()
    assert "stopped by SIGTERM after step" in log
    assert log.count("queues itself again") == 1


def test_a_signal_before_training_requeues_the_job(toys: Toys) -> None:
    """There is nothing to save yet; the next attempt starts from the beginning. (The first waits for its signal.)"""
    folder = toys.phase(toys.site_with("time.sleep(100)", module="talkies.launch.rendezvous", rank=0), "steps.max=6")
    wait_for(lambda: read_attempts(folder).made, "the first attempt")
    assert not (folder / "checkpoints").exists()
    command("scancel", "--signal=USR1", ids(folder)[-1])
    assert wait_to_end(folder).restarts == 1
    assert [made.step for made in read_attempts(folder).made] == [0, 0]
    (log,) = (folder / "slurm").glob("*.out")
    assert "SIGUSR1 outside of training" in log.read_text()
