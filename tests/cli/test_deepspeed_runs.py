"""Runs under DeepSpeed through the command line: refused if it cannot run them, and otherwise runs like any other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mlflow_servers import free_port
from test_many_ranks import close, words
from toy_run import RECIPES, ToyRun

from talkies.checkpoints.release import read_release
from talkies.cli.main import run

ZERO = ["parallel.kind=deepspeed", "parallel.shard=2"]
PROGRAM = str(Path(__file__).with_name("zero_on_the_cpu.py"))
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", PROGRAM]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["parallel.replicate=2"], "`parallel.shard` to 4, or take `parallel.kind` fsdp2"),
        (["parallel.sequence=3"], "divisors: 1, 2"),
        (["parallel.stage=4"], "parallel.stage"),
        (["parallel.stage=3", "compute.compile=true"], "hooks inside of blocks"),
    ],
)
def test_what_deepspeed_cannot_do_is_refused_by_name(
    changed: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(RECIPES / "audio_pretraining.yaml")
    for verb, place in (("plan", []), ("train", ["--runs", str(tmp_path)])):
        assert run([verb, recipe, *ZERO, *changed, *place]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA GPUs, on which DeepSpeed runs")
def test_deepspeed_needs_gpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(RECIPES / "audio_pretraining.yaml"), *ZERO, "data.root=x", "--runs", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "needs CUDA GPUs, this machine has none; take fsdp2" in line


def test_a_plan_for_deepspeed_needs_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    """ZeRO-3 shards what ZeRO-2 holds whole; an offloaded optimizer is in main memory."""
    found = {}
    recipe = str(RECIPES.parent / "joint_phase1.yaml")
    for name, more in {"2": ["stage=2"], "3": ["stage=3"], "away": ["stage=3", "offload=true"]}.items():
        layout = ", ".join(["kind: deepspeed", "shard: 128", *(text.replace("=", ": ") for text in more)])
        assert run(["plan", recipe, f"parallel={{{layout}}}", "--json"]) == 0
        found[name] = json.loads(capsys.readouterr().out)["memory"]
    assert found["3"]["weights"] == pytest.approx(found["2"]["weights"] / 128, rel=1e-3)
    assert found["3"]["optimizer"] == found["2"]["optimizer"] > 0
    assert found["away"]["optimizer"] == 0
    held = sum(found["3"][key] for key in ("gradients", "optimizer", "ema"))
    assert found["away"]["offloaded"] == pytest.approx(held)


def often(toy_run: ToyRun, runs: Path, phase: str, *more: str) -> list[str]:
    """A run that is validated every second step."""
    return [word.replace("validation.every=4", "validation.every=2") for word in words(toy_run, runs, phase, *more)]


def trained(words: list[str]) -> None:
    done = subprocess.run([sys.executable, *LAUNCH, *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.ranks
@pytest.mark.timeout(600)
def test_a_run_on_the_cpu_not_the_cuda_path_is_continued_without_deepspeed(toy_run: ToyRun, tmp_path: Path) -> None:
    """Stage 3 streams parents into partitions, measures held-out clips and makes samples. It is stopped at step 2 and
    continued by stage 2 to step 3 and by one process to the end; the result is that of one process alone."""
    trained(often(toy_run, tmp_path, "joint_phase1", *ZERO, "parallel.stage=3", "--stop-at", "2"))
    (folder,) = tmp_path.glob("joint_phase1-*/*")
    assert run(["export", str(folder), "--consolidate", "--out", str(tmp_path / "made")]) == 0
    assert read_release(tmp_path / "made")["step"] == 2
    trained(often(toy_run, tmp_path, "joint_phase1", *ZERO, "parallel.stage=2", "--stop-at", "3"))
    assert run(often(toy_run, tmp_path, "joint_phase1")) == 0
    assert list(tmp_path.glob("joint_phase1-*/*")) == [folder], "a layout is no other run"
    alone = toy_run.phase("joint_phase1")
    for component in read_release(alone / "release")["components"]:
        assert close(folder / "release", alone / "release", component) < 5e-5
    ours, theirs = (json.loads((path / "result.json").read_text())["metrics"] for path in (folder, alone))
    assert ours["heldout/video"] == pytest.approx(theirs["heldout/video"], rel=1e-4)
    measured = [json.loads(x) for x in (folder / "spool.jsonl").read_text().splitlines() if "heldout/video" in x]
    assert measured[0]["step"] == 2
    assert list((folder / "samples" / "step-00000002").glob("*.mp4")), "sampled from partitions"


@pytest.mark.ranks
@pytest.mark.timeout(600)
def test_a_lora_over_partitions_on_the_cpu_not_the_cuda_path(toy_run: ToyRun, tmp_path: Path) -> None:
    """The frozen base is in partitions, too; the release is exported from them."""
    parents = f"parents.base={toy_run.phase('high_resolution')}"
    trained(words(toy_run, tmp_path, "lora", *ZERO, "parallel.stage=3", parents))
    (folder,) = tmp_path.glob("lora-*/*")
    runs = (folder, toy_run.phase("lora"))
    ours, theirs = (json.loads((path / "result.json").read_text())["metrics"] for path in runs)
    assert ours["heldout/video"] == pytest.approx(theirs["heldout/video"], rel=1e-4)
    assert ours["train/loss"] == pytest.approx(theirs["train/loss"], rel=1e-4)


@pytest.mark.ranks
@pytest.mark.timeout(600)
@pytest.mark.parametrize("world", [1, 2])
def test_processes_started_by_srun_on_the_cpu_not_the_cuda_path(toy_run: ToyRun, tmp_path: Path, world: int) -> None:
    """DeepSpeed reads torchrun's variables; srun sets others, and a single process has none."""
    arguments = words(toy_run, tmp_path, "audio_pretraining", f"parallel={{kind: deepspeed, shard: {world}, stage: 3}}")
    fixed = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": str(world), "SLURM_STEP_NUM_NODES": "1"}
    fixed |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    own = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(world)]
    command = [sys.executable, PROGRAM, *arguments]
    tasks = [
        subprocess.Popen(command, env={**os.environ, **fixed, **task} if world > 1 else None, stderr=subprocess.PIPE)
        for task in own
    ]
    errors = [task.communicate(timeout=300)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0] * world, errors
    (folder,) = tmp_path.glob("audio_pretraining-*/0001")
    assert close(folder / "release", toy_run.phase("audio_pretraining") / "release", "audio") < 2e-5
