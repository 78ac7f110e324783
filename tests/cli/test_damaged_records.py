"""Records of a run with missing or wrong content: one line that names the file and the key, exit code 65."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_run import RECIPES, TINY, ToyRun

from talkies.checkpoints.manifest import MANIFEST, write_manifest
from talkies.checkpoints.store import CheckpointStore
from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)
DAMAGES = [
    ("result.json", "metrics", "promote"),
    ("evaluation.json", "metrics", "promote"),
    ("place.json", "store", "promote"),
    ("place.json", "data_root", "evaluate"),
    ("recipe.json", "recipe", "sample"),
]


@pytest.mark.parametrize(("file", "key", "verb"), DAMAGES)
@pytest.mark.parametrize("all_of_it", [False, True], ids=["one key", "all keys"])
def test_a_record_without_its_keys_is_named(
    *,
    toy_run: ToyRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    key: str,
    verb: str,
    all_of_it: bool,
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(toy_run.phase("lora" if verb == "promote" else "audio_pretraining"), folder)
    values = json.loads((folder / file).read_text())
    del values[key]
    (folder / file).write_text("{}" if all_of_it else json.dumps(values))
    source = CheckpointStore(folder / "checkpoints").latest() if verb == "sample" else folder
    words = ["--prompt", "x"] if verb == "sample" else []
    assert run([verb, str(source), *words]) == 65
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert f"{folder / file} is damaged: it has no `" in output
    assert all_of_it or f"no `{key}`" in output


def changed(key: str, value: object) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))

    return change


def piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DEEP = "[" * 10_000
HARMED: list[tuple[str, str, Callable[[Path], object], str]] = [
    ("promote", "result.json", changed("metrics", {"loss": "x"}), "its `metrics.loss` is 'x', and must be a number"),
    ("promote", "evaluation.json", changed("clips", []), "its `clips` is a list of 0, and must be an integer"),
    ("evaluate", "place.json", changed("artifacts", []), "its `artifacts` is a list of 0, and must be text"),
    ("evaluate", "run.json", lambda file: file.write_text(DEEP), "it is nested too deeply"),
    ("export", "recipe.json", lambda file: file.write_text(DEEP), "it is nested too deeply"),
    ("export", "recipe.json", changed("recipe", {"steps": {"max": 4}, "name": 5}), "is damaged"),
    ("sample", "recipe.json", piped, "it is a named pipe, not a regular file"),
    ("replay", "progress.json", changed("offset", "x"), "its `offset` is 'x', and must be an integer"),
    ("replay", "progress.json", changed("metrics", [1]), "its `metrics` is a list of 1, and must be an integer"),
    ("replay", "spool.jsonl", piped, "it is a named pipe, not a regular file"),
]


@pytest.mark.parametrize(("verb", "file", "harm", "message"), HARMED)
def test_a_record_of_wrong_content_is_named_in_one_line(
    *,
    toy_run: ToyRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    file: str,
    harm: Callable[[Path], object],
    message: str,
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(toy_run.phase("lora" if verb == "promote" else "audio_pretraining"), folder)
    harm(folder / file)
    source = CheckpointStore(folder / "checkpoints").latest() if verb == "sample" else folder
    more = {"sample": ["--prompt", "x"], "export": ["--consolidate", "--out", str(tmp_path / "out")]}
    assert run([verb, str(source), *more.get(verb, [])]) == 65
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert str(folder / file) in output
    assert message in output


WRONG: dict[str, tuple[str, object, str]] = {
    "recipe.json": ("parents", {"audio": {"sha256": "x"}}, "it has no `parents.audio.spec`"),
    "run.json": ("created", "x", "its `created` is 'x', and must be an integer"),
    "inputs.json": ("codecs", [], "its `codecs` is a list of 0, and must be a mapping"),
    "best.json": ("value", None, "its `value` is null, and must be a number"),
    "validated.json": ("step", -1, "its `step` is -1, and must be >= 0"),
    "loop.json": ("guard", {"good": {}}, "it has no `guard.skipped`"),
    "gathered-00000.json": ("quarantine", {}, "it has no `quarantine.unreported`"),
}


@pytest.fixture(scope="module")
def stopped(toy_run: ToyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after step 2 of 4, having validated."""
    runs = tmp_path_factory.mktemp("stopped")
    assert continued(toy_run, runs, "--stop-at", "2") == 0
    (run_folder,) = runs.glob("*/0001")
    assert run(["replay", str(run_folder)]) == 0  # its uploader may not have started
    return run_folder


def continued(toy_run: ToyRun, runs: Path, *more: str) -> int:
    small = [text.replace("validation.every=4", "validation.every=2") for text in TINY]
    words = [*small, f"data.root={toy_run.data}", "--runs", str(runs), "--quiet", *more]
    return run(["train", str(RECIPES / "audio_pretraining.yaml"), *words])


@pytest.mark.parametrize("name", WRONG)
def test_a_run_is_not_continued_from_a_record_of_wrong_content(
    toy_run: ToyRun, stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    key, value, message = WRONG[name]
    runs = tmp_path / "runs"
    shutil.copytree(stopped.parents[1], runs)
    folder = runs / stopped.parent.name / "0001"
    (file,) = (*folder.glob(name), *folder.glob(f"checkpoints/*/{name}"))
    changed(key, value)(file)
    if (file.parent / MANIFEST).exists():  # as if the checkpoint's manifest had been repaired
        (file.parent / MANIFEST).unlink()
        write_manifest(file.parent, 2)
    capsys.readouterr()
    assert continued(toy_run, runs) == 65
    (output,) = capsys.readouterr().err.splitlines()
    assert f"{file} is damaged: {message}" in output
    assert not (folder / "result.json").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_status_reports_every_damaged_record_and_all_others(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    for name in ("run.json", "best.json"):
        key, value, _ = WRONG[name]
        changed(key, value)(folder / name)
    assert run(["status", str(folder), *(["--json"] if as_json else [])]) == 65
    output = capsys.readouterr().out
    assert "step 2 of 4" in output or '"step": 2' in output
    for name in ("run.json", "best.json"):
        assert f"{folder / name} is damaged: {WRONG[name][2]}" in output
