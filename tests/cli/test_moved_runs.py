"""A runs folder that was moved or copied works with every verb, whichever version wrote its records."""

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from moved_runs import contents, copied, train
from toy_run import RECIPES, SMALL, ToyRun

from talkies.checkpoints.release import read_release, release_sha256
from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)
WAYS = [
    ("new", "moved"),
    ("old", "moved"),
    ("new", "copied"),
    ("old", "copied"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("records", "way"), WAYS)
def test_every_verb_works_in_a_moved_runs_folder(
    toy_run: ToyRun, tmp_path: Path, records: str, way: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = copied(toy_run, tmp_path / "cluster" / "runs", old=records == "old")
    runs = tmp_path / "home" / "of mine"
    runs.parent.mkdir()
    if way == "moved":
        before.rename(runs)
    else:
        shutil.copytree(before, runs)
    untouched = contents(before)
    shutil.rmtree(runs / "downloads")
    (curriculum,) = runs.glob("mova-toy-*/0001")
    (alone,) = runs.glob("audio_pretraining-*/0001")
    lora, joint = curriculum / "6-lora", curriculum / "4-joint_phase2"
    mp4 = ["--prompt", "A happy man", "--out", str(tmp_path / "made.mp4")]
    was = release_sha256(lora / "release")

    def done(*words: str) -> str:
        capfd.readouterr()
        assert run([*words]) == 0, capfd.readouterr().err
        return capfd.readouterr().out

    done("sample", "models:/mova-toy@champion", *mp4, "--runs", str(runs))
    done("sample", str(lora), *mp4)
    done("sample", str(lora / "checkpoints" / "step-00000002"), *mp4)
    done("evaluate", str(joint), "--clips", "2")
    assert f"sqlite:///{runs / 'mlflow.db'} run " in done("status", str(joint))
    assert "0 metrics sent" in done("replay", str(joint), str(curriculum))
    done("export", str(lora), "--consolidate", "--out", str(tmp_path / "out"))
    assert f"{lora}/cards/mova-toy/version-000" in done("promote", str(lora))
    assert train(runs) == 0
    assert release_sha256(alone / "release") == release_sha256(stopped_and_continued(toy_run, tmp_path))
    done("train", str(RECIPES / "curriculum.yaml"), *SMALL, "--runs", str(runs), "--quiet", "--no-promote")
    assert release_sha256(lora / "release") == was, "nothing was made again"
    assert read_release(tmp_path / "out")["base"]["sha256"] == read_release(lora / "release")["base"]["sha256"]
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    kept = {json.loads((folder / "run.json").read_text())["mlflow_run_id"]: folder for folder in (joint, lora)}
    for known, folder in kept.items():
        assert client.get_run(known).info.artifact_uri.startswith(runs.as_uri())
        assert {"recipe", "samples"} <= {found.path for found in client.list_artifacts(known)}, folder
    assert contents(before) == untouched, "nothing was written at its old path"


def stopped_and_continued(toy_run: ToyRun, tmp_path: Path) -> Path:
    """The release of the same run without a move."""
    runs = tmp_path / "stayed"
    (runs / "data").mkdir(parents=True)
    (runs / "data" / toy_run.data.name).symlink_to(toy_run.data)
    assert train(runs, "tracking.experiment=another", "tracking.license=mit") == 0
    (folder,) = runs.glob("audio_pretraining-*/0001")
    return folder / "release"
