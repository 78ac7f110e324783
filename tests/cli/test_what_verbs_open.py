"""Each verb opens only what it needs: missing or damaged data stop only the verbs that read them."""

import json
import shutil
from pathlib import Path

import pytest
from moved_runs import as_before, link_runs
from toy_run import ToyRun

from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def runs(toy_run: ToyRun, tmp_path: Path) -> Path:
    """A copy of the toy_run's runs folder, as from another machine: its original path does not exist here."""
    link_runs(toy_run, tmp_path / "runs")
    places = [path for name in ("place*.json", "run.json") for path in (tmp_path / "runs").rglob(name)]
    for record in places:
        values = json.loads(record.read_text())
        record.write_text(json.dumps({**values, "folder": f"/nowhere{values['folder']}"}))
    return tmp_path / "runs"


def lora_of(runs: Path) -> Path:
    return next(runs.glob("mova-toy-*/0001/6-lora"))


def done(*words: object) -> None:
    assert run([*map(str, words)]) == 0


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert run([*map(str, words)]) == 65
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    return line


def test_without_its_data_only_what_measures_is_refused(
    runs: Path, toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(runs / "data")
    lora, clip = lora_of(runs), ["--prompt", "A happy man", "--out", tmp_path / "made.mp4"]
    done("export", lora, "--consolidate", "--out", tmp_path / "out")
    done("sample", lora / "checkpoints" / "step-00000002", *clip)
    done("sample", lora, *clip)
    done("status", lora)
    done("replay", lora)
    done("promote", lora, "--expect", "1")
    output = refused(capsys, "evaluate", lora, "--clips", "2")
    assert "evaluate: the held-out clips are gone (looked for: " in output
    assert str(runs / "data" / toy_run.data.name) in output
    assert output.endswith("give --data FOLDER")
    done("evaluate", lora, "--clips", "2", "--data", toy_run.data)


def test_a_damaged_shard_does_not_stop_a_verb_that_reads_none(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data,) = (runs / "data").iterdir()
    for name in ("masks", "masks_heldout"):
        shard = data / "sets" / name / "shard-00000.safetensors"
        content = shard.read_bytes()
        shard.unlink()  # a link to the toy_run's
        shard.write_bytes(content[:-9])
    lora = lora_of(runs)
    done("export", lora, "--consolidate", "--out", tmp_path / "out")
    done("promote", lora, "--expect", "1")
    assert "masks_heldout/shard-00000.safetensors is truncated" in refused(capsys, "evaluate", lora, "--clips", "2")


def test_a_run_copied_on_its_own_can_be_sampled_and_its_store_is_not_made_again(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its parents and its store stayed behind. Only a LoRA needs its parents' weights."""
    alone, lora = tmp_path / "deep" / "down" / "5-high_resolution", tmp_path / "deep" / "down" / "6-lora"
    clip = ["--prompt", "A happy man", "--out", tmp_path / "made.mp4"]
    shutil.copytree(lora_of(runs).with_name(alone.name), alone)
    done("sample", alone / "checkpoints" / "step-00000004", *clip)
    whole = (tmp_path / "made.mp4").read_bytes()
    monkeypatch.chdir(alone / "checkpoints")
    done("sample", "step-00000004", *clip)
    assert (tmp_path / "made.mp4").read_bytes() == whole
    done("sample", lora_of(runs).with_name(alone.name) / "checkpoints" / "step-00000004", *clip)
    assert (tmp_path / "made.mp4").read_bytes() == whole, "as with its parents"
    shutil.copytree(alone / "checkpoints" / "step-00000004", tmp_path / "step")
    assert f"{tmp_path.parent / 'recipe.json'} is missing; give it as RUN/" in refused(
        capsys, "sample", tmp_path / "step", *clip
    )
    shutil.copytree(lora_of(runs), lora)
    before = {*tmp_path.rglob("mlflow.db")}
    for verb in ("promote", "replay"):
        assert run([verb, str(lora)]) == 69
        assert "cannot be looked up: there is no store " in capsys.readouterr().err
    assert {*tmp_path.rglob("mlflow.db")} == before


def test_a_run_of_an_older_version_names_the_paths_tried_for_its_codecs(
    runs: Path, toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_before(runs)
    moved = tmp_path / "moved"
    runs.rename(moved)
    shutil.rmtree(moved / "data")
    lora, clip = lora_of(moved), ["--prompt", "A happy man", "--out", tmp_path / "made.mp4"]
    output = refused(capsys, "sample", lora / "checkpoints" / "step-00000002", *clip)
    for part in (lora / "codecs", runs / "data" / toy_run.data.name / "codecs", f"in {moved}", "--data FOLDER"):
        assert str(part) in output
    assert "give --data FOLDER" in refused(capsys, "export", lora, "--consolidate", "--out", tmp_path / "out")
    done("sample", lora / "checkpoints" / "step-00000002", *clip, "--data", toy_run.data)
    done("export", lora, "--consolidate", "--out", tmp_path / "out", "--data", toy_run.data)


def test_a_codec_of_another_fit_is_not_sampled_with(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The audio codec's weights under a matching record: undamaged, but another codec."""
    lora = lora_of(runs)
    record = lora / "inputs.json"
    values = json.loads(record.read_text())
    record.write_text(json.dumps({**values, "codecs": {**values["codecs"], "audio": "0" * 64}}))
    output = refused(capsys, "sample", lora / "checkpoints" / "step-00000002", "--prompt", "x")
    assert "was trained with audio codec 0000000000000000, this one is " in output


def test_a_release_that_lacks_a_codec_is_not_promoted(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lora = lora_of(runs)
    release = lora / "release" / "release.json"
    values = json.loads(release.read_text())
    values["files"] = {name: entry for name, entry in values["files"].items() if not name.startswith("codecs/video/")}
    release.write_text(json.dumps(values))
    shutil.rmtree(lora / "release" / "codecs" / "video")
    assert f"no fitted codec in {lora / 'release' / 'codecs' / 'video'}" in refused(capsys, "promote", lora)
