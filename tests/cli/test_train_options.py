"""Training through the command line under other settings: bf16, an unreachable tracking server, a real signal."""

import json
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from signalled import LONG, line_after_signal, saved
from toy_run import RECIPES, TINY, ToyRun

from talkies.checkpoints.release import load_component
from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)
AUDIO = str(RECIPES / "audio_pretraining.yaml")


def test_bf16_keeps_fp32_master_weights(toy_run: ToyRun, tmp_path: Path) -> None:
    words = ["train", AUDIO, *TINY, f"data.root={toy_run.data}", "precision=bf16", "--runs", str(tmp_path), "--quiet"]
    assert run(words) == 0
    (release,) = tmp_path.glob("audio_pretraining-*/0001/release")
    weights = load_component(release, "audio")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float32"}
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())
    plain = load_component(toy_run.phase("audio_pretraining") / "release", "audio")
    assert any(not bool((weights[key] == plain[key]).all()) for key in plain)


@pytest.mark.slow
def test_a_dead_tracking_server_neither_stops_nor_falsifies_training(toy_run: ToyRun, tmp_path: Path) -> None:
    words = [*TINY, f"data.root={toy_run.data}", "tracking.uri=http://127.0.0.1:9", "--runs", str(tmp_path), "--quiet"]
    assert run(["train", AUDIO, *words]) == 0
    (folder,) = tmp_path.glob("audio_pretraining-*/0001")
    ours = load_component(folder / "release", "audio")
    theirs = load_component(toy_run.phase("audio_pretraining") / "release", "audio")
    assert all(bool((ours[key] == theirs[key]).all()) for key in theirs)
    kinds = [json.loads(line)["kind"] for line in (folder / "spool.jsonl").read_text().splitlines()]
    assert "metrics" in kinds
    assert not (folder / "run.json").exists()


def test_ctrl_c_saves_exits_130_and_the_same_command_continues(toy_run: ToyRun, tmp_path: Path) -> None:
    words = [AUDIO, *LONG, f"data.root={toy_run.data}"]
    message = line_after_signal(signal.SIGINT, [*words, "--runs", str(tmp_path)], ready=partial(saved, tmp_path))
    assert "SIGINT" in message
    stopped = int(message.split("after step ")[1].split(";")[0])
    assert run(["train", *words, "--stop-at", str(stopped + 1), "--runs", str(tmp_path), "--quiet"]) == 0
    (loop,) = tmp_path.glob(f"audio_pretraining-*/0001/checkpoints/step-{stopped + 1:08d}/loop.json")
    assert json.loads(loop.read_text())["step"] == stopped + 1


@pytest.mark.fault("f", "config change on resume", injected="checkpoints of a run with another rate")
def test_a_checkpoint_of_another_recipe_is_refused(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], record_outcome: Callable[..., None]
) -> None:
    """Same data, architecture and seed; another learning rate."""
    fixed = ["train", AUDIO, *TINY, f"data.root={toy_run.data}", "--runs", str(tmp_path), "--quiet"]
    folders = []
    for rate in ("0.001", "0.002"):
        assert run([*fixed, f"optimizer.lr.towers={rate}", "--stop-at", "2"]) == 0
        (made,) = {*tmp_path.glob("audio_pretraining-*/0001/checkpoints")} - {*folders}
        folders.append(made)
    shutil.rmtree(folders[1])
    shutil.copytree(*folders)
    capsys.readouterr()
    assert run([*fixed, "optimizer.lr.towers=0.002"]) == 65
    (line,) = capsys.readouterr().err.splitlines()
    assert "was written by a run of another recipe" in line
    record_outcome("exit 65")


@pytest.mark.slow
def test_a_run_whose_checkpoints_are_gone_does_not_start_over(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would train on the same clips twice in one MLflow run."""
    words = ["train", AUDIO, *TINY, f"data.root={toy_run.data}", "--runs", str(tmp_path), "--quiet"]
    assert run([*words, "--stop-at", "2"]) == 0
    (folder,) = tmp_path.glob("audio_pretraining-*/0001")
    shutil.rmtree(folder / "checkpoints")
    assert run(words) == 65
    assert "has saved checkpoints/step-00000002, but no longer holds any checkpoint" in capsys.readouterr().err
    assert run([*words, "--new"]) == 0


def test_status_shows_a_run_with_a_damaged_record(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(toy_run.phase("audio_pretraining"), folder)
    (folder / "best.json").write_text("[]")
    (folder / "run.json").write_text('{"id": 5}')
    assert run(["status", str(folder)]) == 65
    output = capsys.readouterr().out
    assert (
        "best.json is damaged: it holds no JSON object but a list of 0, and must be a mapping of keys; rest" in output
    )
    assert "run.json is damaged: it has no `mlflow_run_id`; restore it from a copy, or remove it to upload" in output
    assert "step 4 of 4" in output
    (folder / "recipe.json").write_text("torn")
    assert run(["status", str(folder)]) == 65
    output = capsys.readouterr().out
    assert "recipe.json is damaged: it holds no JSON object: " in output
    assert "step" not in output.splitlines()[1]


def test_status_reports_survived_failures(toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(toy_run.phase("audio_pretraining"), folder)
    assert run(["status", str(folder)]) == 0
    assert "survived: " not in capsys.readouterr().out
    (folder / "bad_steps").mkdir()
    (folder / "bad_steps" / "step-00000003.json").write_text("{}")
    (folder / "quarantine.jsonl").write_text("{}\n{}\n{")
    made = {"at": 3, "to": 0, "start": 0, "stop": 4, "reason": "a spike"}
    (folder / "rollbacks.json").write_text(json.dumps([made]))
    assert run(["status", str(folder)]) == 0
    message = "survived: 1 bad steps (bad_steps/), 1 rollbacks (rollbacks.json), 2 clips replaced (quarantine.jsonl)"
    assert message in capsys.readouterr().out


@pytest.mark.slow
def test_values_excluded_from_the_hash_are_recorded_as_they_are_now(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So a finished run can be given a model name to promote it under."""
    words = ["train", AUDIO, *TINY, f"data.root={toy_run.data}", "--runs", str(tmp_path), "--quiet"]
    assert run(words) == 0
    (folder,) = tmp_path.glob("audio_pretraining-*/0001")
    before = json.loads((folder / "recipe.json").read_text())
    assert run(["promote", str(folder), "--runs", str(tmp_path)]) == 2
    assert (
        "names no registered model: repeat its `talkies train` with tracking.register=NAME" in capsys.readouterr().err
    )
    assert run([*words, "tracking.register=voices", "survival.straggler=7"]) == 0
    after = json.loads((folder / "recipe.json").read_text())
    assert (after["recipe"]["tracking"]["register"], after["recipe"]["survival"]["straggler"]) == ("voices", 7)
    assert after["recipe_hash"] == before["recipe_hash"]
    assert run(["promote", str(folder), "--runs", str(tmp_path)]) == 0, capsys.readouterr().err
    assert "models:/voices" in capsys.readouterr().out
    assert run(["promote", str(tmp_path / "nowhere"), "--runs", str(tmp_path)]) == 2


def test_a_finished_run_reports_that_its_data_have_changed(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise a user who adds clips and trains again would take the old adapter for a new one."""
    shutil.copytree(toy_run.data, data := tmp_path / "data")
    words = ["train", AUDIO, *TINY, f"data.root={data}", "--runs", str(tmp_path / "runs"), "--quiet"]
    for _ in range(2):
        assert run(words) == 0
        assert "changed since" not in capsys.readouterr().out
    train, heldout = (data / "sets" / name for name in ("voices", "voices_heldout"))
    shutil.rmtree(train)
    shutil.copytree(heldout, train)
    assert run(words) == 0
    output = capsys.readouterr().out
    assert "is finished, and its training data have changed since: 'voices' (now" in output
    assert "nothing is trained, --new trains on what is there" in output
    shutil.rmtree(data)
    assert run(words) == 0
    assert "changed since" not in capsys.readouterr().out
