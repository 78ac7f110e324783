"""Every codec that a release carries exists, undamaged and the right one, before the first step."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import RECIPES, TINY, ToyRun, as_owner_alone

from talkies.cli.main import run
from talkies.codecs import linear_video
from talkies.codecs.config import LinearVideoConfig
from talkies.codecs.fitted import save_codec
from talkies.runs.result import export

pytestmark = pytest.mark.timeout(600)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def _of_another_fit(folder: Path) -> None:
    """An undamaged codec of the same config, fitted on other clips."""
    frames = [torch.rand(25, 3, 32, 32, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in range(8)]
    save_codec(linear_video.fit(LinearVideoConfig(), frames), folder)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _with_report(video: Path) -> None:
    shutil.rmtree(video)
    (video.parents[1] / "report.json").unlink()


HARMS: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights gone": (lambda video: (video / "model.safetensors").unlink(), "model.safetensors is missing"),
    "config gone": (lambda video: (video / "config.json").unlink(), "config.json is missing"),
    "folder gone": (shutil.rmtree, "no fitted codec in"),
    "folder and report gone": (_with_report, "no fitted codec in"),
    "damaged": (lambda video: _flip(video / "model.safetensors"), "model.safetensors is damaged"),
    "another": (_of_another_fit, "and the data was prepared with"),
    "a pipe": (lambda video: _pipe(video / "model.safetensors"), "model.safetensors is not a regular file"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_run_on_sound_is_refused_for_a_lost_video_codec(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy_run.data, data)
    break_it, message = HARMS[harm]
    break_it(data / "codecs" / "video")
    words = ["train", str(RECIPES / "audio_pretraining.yaml"), *TINY, f"data.root={data}", "--quiet"]
    assert run([*words, "--runs", str(tmp_path / "runs")]) == 65
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("talkies: data: every release of this data carries its video codec")
    assert str(data / "codecs" / "video") in line
    assert message in line
    assert not [*(tmp_path / "runs").rglob("*.json")]


def test_a_codec_that_cannot_be_read_is_named(toy_run: ToyRun, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy_run.data, data)
    (data / "codecs" / "video" / "model.safetensors").chmod(0)
    words = ["train", str(RECIPES / "audio_pretraining.yaml"), *TINY, f"data.root={data}", "--quiet"]
    command = [*as_owner_alone(), sys.executable, "-m", "talkies.cli.main", *words, "--runs", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 65
    assert f"codec {data / 'codecs' / 'video'}: cannot read model.safetensors: Permission denied" in done.stderr


LOSSES: dict[str, Callable[[Path], None]] = {
    "folder gone": shutil.rmtree,
    "weights gone": lambda video: (video / "model.safetensors").unlink(),
    "damaged": lambda video: _flip(video / "model.safetensors"),
}


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_a_codec_lost_while_a_run_trains_is_detected_before_its_release(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], loss: str
) -> None:
    words = ["train", str(RECIPES / "audio_pretraining.yaml"), *TINY, f"data.root={toy_run.data}", "--quiet"]
    words += ["--runs", str(tmp_path / "runs")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("talkies.runs.run_phase.export", _after(LOSSES[loss]))
        assert run(words) == 65
    (line,) = capsys.readouterr().err.splitlines()
    (folder,) = (tmp_path / "runs").glob("*/0001")
    assert line.startswith(f"talkies: run: {folder} has no release yet")
    assert "codecs/video" in line
    assert not (folder / "release").exists()
    assert run(words) == 0
    assert {path.name for path in (folder / "release" / "codecs").iterdir()} >= {"audio", "video"}


def _after(harm: Callable[[Path], None]) -> Callable[..., str]:
    """`export`, after damaging the run's own copy of the video codec."""

    def harmed(recipe: Any, parents: Any, folder: Path, *rest: Any) -> str:
        harm(folder / "codecs" / "video")
        return export(recipe, parents, folder, *rest)

    return harmed


def test_data_that_never_had_pictures_needs_no_codec_for_them(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy_run.data, data)
    for folder in (data / "sets").iterdir():
        if not folder.name.startswith("voices"):
            shutil.rmtree(folder)
    shutil.rmtree(data / "codecs" / "video")
    report = json.loads((data / "report.json").read_text())
    del report["codecs"]["video"]
    (data / "report.json").write_text(json.dumps(report))
    words = ["train", str(RECIPES / "audio_pretraining.yaml"), *TINY, f"data.root={data}", "--quiet"]
    assert run([*words, "--runs", str(tmp_path / "runs")]) == 0
    (release,) = (tmp_path / "runs").glob("*/0001/release")
    assert [path.name for path in (release / "codecs").iterdir() if path.is_dir()] == ["audio"]
