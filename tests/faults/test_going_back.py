"""`talkies train` rolls back from a batch that causes a spike and skips it; another attempt does the same."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from safetensors.torch import load_file
from torch import Tensor
from toy_run import RECIPES, released
from training_runs import WORDS

from talkies.checkpoints.release import read_release
from talkies.cli.main import run
from talkies.resilience.guard import SurvivalWarning
from talkies.training.phase import Phase

BAD = 20
"""The number of good steps before the one with the bad batch."""
SPIKES = {
    "steps.max": 26,
    "steps.log_every": 2,
    "survival.spike.action": "rollback",
    "survival.spike.sigma": 50,
    "survival.rollback.back": 3,
    "survival.rollback.ahead": 1,
}


def words(**more: object) -> list[str]:
    """Overrides of a run that rolls back."""
    options = {**WORDS, **SPIKES, **more}
    return [f"{key}={value}" for key, value in options.items()]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(step, position in the stream) of every step; the batch at that of BAD has a huge loss."""
    found: list[tuple[int, int]] = []
    original: Callable[..., dict[str, object]] = Phase.training_step

    def training_step(self: Phase, batch: Any, number: int) -> dict[str, object]:
        position = self.trainer.datamodule.position
        found.append((self.global_step, position))
        outputs = original(self, batch, number)
        if position == 4 * BAD:
            outputs["loss"] = outputs["loss"] * 1e4  # type: ignore[operator]
        return outputs

    monkeypatch.setattr(Phase, "training_step", training_step)
    return found


def train(data: Path, runs: Path) -> Path:
    recipe = RECIPES / "audio_pretraining.yaml"
    arguments = ["train", str(recipe), f"data.root={data}", *words(), "--runs", str(runs), "--quiet"]
    assert run(arguments) == 0
    (folder,) = runs.glob("audio_pretraining-*/0001")
    return folder


@pytest.mark.faults
@pytest.mark.fault("18", "loss spike", injected="the gradient of one batch times 10000: policy rollback")
def test_a_run_rolls_back_and_skips_the_batch(
    data: Path, tmp_path: Path, seen: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, record_outcome: Any
) -> None:
    with pytest.warns(SurvivalWarning, match=r"optimizer step 21: the gradient norm is .*; resuming from step 15"):
        folder = train(data, tmp_path / "a")
    before, after = seen[: BAD + 1], seen[BAD + 1 :]
    assert before == [(step, 4 * step) for step in range(21)]
    assert after == [(step, 4 * (step + 7)) for step in range(15, 26)], "past 15..20 and one more"
    (made,) = json.loads((folder / "rollbacks.json").read_text())
    assert {key: made[key] for key in ("at", "to", "start", "stop")} == {"at": 21, "to": 15, "start": 60, "stop": 88}
    recorded = read_release(folder / "release")["survival"]
    assert recorded["passed_batches"] == [[15, 22]]
    assert run(["replay", str(folder)]) == 0
    client = MlflowClient(f"sqlite:///{tmp_path / 'a' / 'mlflow.db'}")
    identity = json.loads((folder / "run.json").read_text())["mlflow_run_id"]
    points = [point.step for point in client.get_metric_history(identity, "train/loss")]
    assert sorted(points) == sorted([*range(2, 21, 2), *range(16, 27, 2)]), "repeated steps have two points"
    assert client.get_run(identity).data.tags["went_back"] == "1"

    seen.clear()
    killed: list[int] = []
    count: Callable[..., dict[str, object]] = Phase.training_step

    def stopped(self: Phase, batch: Any, number: int) -> dict[str, object]:
        if (self.global_step, len(killed)) in {(13, 0), (18, 1), (BAD, 2), (17, 3)}:
            killed.append(self.global_step)
            os.kill(os.getpid(), signal.SIGTERM)
        return count(self, batch, number)

    monkeypatch.setattr(Phase, "training_step", stopped)
    recipe = ["train", str(RECIPES / "audio_pretraining.yaml"), f"data.root={data}", *words(), "--quiet"]
    for _ in (13, 18, BAD):  # a stop in the bad step itself comes first: the next attempt meets that step again
        assert run([*recipe, "--runs", str(tmp_path / "b")]) == 130
    (other,) = (tmp_path / "b").glob("audio_pretraining-*/0001")
    assert not (other / "rollbacks.json").exists()
    with pytest.warns(SurvivalWarning, match="resuming from step"):
        assert run([*recipe, "--runs", str(tmp_path / "b")]) == 130
    assert released(train(data, tmp_path / "b")) == released(folder), "a stopped run ends alike"
    record_outcome("back to step 15, 7 batches skipped; a run stopped 4 times ends bitwise equal", steps_lost=5)


@pytest.mark.faults
@pytest.mark.usefixtures("seen")
def test_a_run_does_not_roll_back_if_a_checkpoint_failed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint of the step before the bad one fails while the bad one is detected."""
    count: Callable[..., dict[str, object]] = Phase.training_step

    def blocked(self: Phase, batch: Any, number: int) -> dict[str, object]:
        if self.global_step == BAD - 1:
            (folder,) = tmp_path.glob("audio_pretraining-*/0001")
            (folder / "checkpoints" / f"step-{BAD:08d}.tmp").write_text("in the way")
        return count(self, batch, number)

    monkeypatch.setattr(Phase, "training_step", blocked)
    recipe = ["train", str(RECIPES / "audio_pretraining.yaml"), f"data.root={data}", *words(), "--quiet"]
    assert run([*recipe, "--runs", str(tmp_path)]) == 2
    assert f"step-{BAD:08d}.tmp" in capsys.readouterr().err
    (folder,) = tmp_path.glob("audio_pretraining-*/0001")
    assert not (folder / "rollbacks.json").exists()


PROGRAM = """
import os, sys
from talkies.cli.main import run
from talkies.training.phase import Phase
if "parallel.kind=deepspeed" in sys.argv:
    sys.path.append("{cli}")
    from zero_on_the_cpu import without_cuda
    without_cuda()
real = Phase.training_step
def training_step(self, batch, number):
    outputs = real(self, batch, number)
    if self.trainer.datamodule.position == 80 and os.environ.get("RANK", "1") == "1":
        outputs["loss"] = outputs["loss"] * float("nan")
    return outputs
Phase.training_step = training_step
sys.exit(run())
"""


LAYOUTS = {
    "ddp": ["parallel.kind=ddp", "parallel.replicate=2"],
    "fsdp2": ["parallel.kind=fsdp2", "parallel.shard=2"],
    "zero-2": ["parallel.kind=deepspeed", "parallel.shard=2", "parallel.stage=2"],
    "zero-3": ["parallel.kind=deepspeed", "parallel.shard=2", "parallel.stage=3"],
}


def start(data: Path, folder: Path, launcher: Sequence[str], *more: str) -> tuple[Path, str]:
    """Train through PROGRAM; returns the run's folder and its stderr."""
    program = folder / "program.py"
    program.write_text(PROGRAM.replace("{cli}", str(Path(__file__).parents[1] / "cli")))
    overrides = [word for word in words() if "spike" not in word]
    overrides += ["survival.non_finite=rollback", *more, "--runs", str(folder / "runs"), "--quiet"]
    command = [sys.executable, *launcher, str(program), "train", str(RECIPES / "audio_pretraining.yaml")]
    own = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*command, f"data.root={data}", *overrides], check=False, capture_output=True, text=True, env=own, timeout=280
    )
    assert done.returncode == 0, done.stderr
    (found,) = (folder / "runs").glob("audio_pretraining-*/0001")
    return found, done.stderr


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of a single process with the same bad batch."""
    return tensors(start(data, tmp_path_factory.mktemp("alone"), [])[0])


def tensors(folder: Path) -> dict[str, Tensor]:
    """All weights of a run's release."""
    return {
        f"{name}/{key}": value
        for name in released(folder)
        for key, value in load_file(folder / "release" / name).items()
    }


@pytest.mark.ranks
@pytest.mark.timeout(600)
@pytest.mark.fault("17", "NaN loss on one rank", injected="2 ranks, the loss of rank 1 is NaN: policy rollback")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_all_ranks_roll_back_together(
    data: Path, tmp_path: Path, alone: dict[str, Tensor], layout: list[str], record_outcome: Any
) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    folder, said = start(data, tmp_path, torchrun, *layout)
    (line,) = [line for line in said.splitlines() if "resuming from step 15" in line]
    assert "losses that are not finite on rank" not in line, "the loss that each rank measured was finite"
    assert read_release(folder / "release")["survival"]["passed_batches"] == [[15, 22]]
    found = tensors(folder)
    assert found.keys() == alone.keys()
    assert max(float((found[name] - value).abs().max()) for name, value in alone.items()) < 1e-4
    record_outcome(f"both ranks resume from step 15 ({layout[0].rpartition('=')[2]})", steps_lost=5)


def test_a_setting_without_effect_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(RECIPES / "audio_pretraining.yaml")
    for word, key in (
        ("survival.spike.sigma=3", "`survival.spike` is set, but its `action` is ignore"),
        ("survival.rollback.back=3", "`survival.rollback` is set, but neither"),
        ("survival.skips=3", "`survival.skips` is set, but neither"),
    ):
        assert run(["train", recipe, "data.root=nowhere", word, "--runs", str(tmp_path)]) == 2
        assert key in capsys.readouterr().err
