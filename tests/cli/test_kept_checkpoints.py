"""Disk space and the retention of the best and the registered checkpoints, in real runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_run import RECIPES, TINY, ToyRun

from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)
CHANGED = {"steps.max": 6, "steps.checkpoint_every": 1, "steps.keep": 1, "validation.every": 2}
PHASE = [
    str(RECIPES / "audio_pretraining.yaml"),
    *(text for text in TINY if not text.startswith(tuple(CHANGED))),
    *(f"{key}={value}" for key, value in CHANGED.items()),
]


@pytest.fixture
def small(file_system: Callable[[str], Path]) -> Path:
    """A file system that is too small for a run."""
    return file_system("size=4m")


def steps(folder: Path) -> set[int]:
    return {int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*")}


def test_a_run_without_disk_space_is_refused_and_leaves_nothing(
    toy_run: ToyRun, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *PHASE, f"data.root={toy_run.data}", "--runs", str(small / "runs"), "--quiet"]) == 74
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("talkies: storage: ")
    assert "are needed" in line
    assert "steps.keep" in line
    assert not list(small.rglob("0001"))


@pytest.mark.slow
def test_the_best_and_an_exported_checkpoint_stay_and_can_be_used(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *PHASE, f"data.root={toy_run.data}", "--runs", str(tmp_path), "--quiet"]
    assert run([*words, "--stop-at", "3"]) == 0
    (folder,) = tmp_path.glob("audio_pretraining-*/0001")
    best = json.loads((folder / "best.json").read_text())
    assert best["step"] == 2
    assert best["metric"] == "1 * heldout/audio"
    assert steps(folder) == {2, 3}, "the best and the newest"
    out = tmp_path / "made"
    assert run(["export", str(folder / "checkpoints" / "step-00000003"), "--consolidate", "--out", str(out)]) == 0
    (mark,) = (folder / "registered").iterdir()
    assert json.loads(mark.read_text()) == {"step": 3, "name": str(out)}
    assert run(words) == 0
    best = json.loads((folder / "best.json").read_text())
    assert {best["step"], 3, 6} <= steps(folder) <= {2, 3, 4, 6}, "the best, the exported one, and the newest"
    capsys.readouterr()
    source = folder / "checkpoints" / f"step-{best['step']:08d}"
    clip = tmp_path / "clip.mp4"
    assert run(["sample", str(source), "--prompt", "a voice", "--out", str(clip)]) == 0
    assert clip.stat().st_size > 0


def test_an_export_that_fails_keeps_nothing(toy_run: ToyRun, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(toy_run.phase("audio_pretraining"), folder)
    (folder / "result.json").unlink()  # as if it were unfinished
    (shard,) = (folder / "checkpoints" / "step-00000004" / "shards").glob("*.distcp")
    shard.write_bytes(b"x")
    checkpoint = folder / "checkpoints" / "step-00000004"
    assert run(["export", str(checkpoint), "--consolidate", "--out", str(tmp_path / "made")]) == 65
    assert not list((folder / "registered").glob("*"))


def test_a_promotion_marks_its_checkpoint(toy_run: ToyRun) -> None:
    marks = [json.loads(path.read_text()) for path in (toy_run.phase("lora") / "registered").iterdir()]
    assert [mark["step"] for mark in marks] == [4] * len(marks)
    assert any(mark["name"].startswith("models:/") for mark in marks)
