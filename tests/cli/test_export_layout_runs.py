"""`talkies export --layout` of a trained toy run."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_run import ToyRun

from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)


def test_the_networks_of_a_toy_run_go_out_without_its_fitted_codecs(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = toy_run.phase("joint_phase2"), tmp_path / "out"
    assert run(["export", str(source), "--layout", "mova", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for part in ("video", "audio", "text"):
        assert f"left out: the {part} codec" in printed
    folders = {
        "video_high": "video_dit",
        "video_low": "video_dit_2",
        "audio": "audio_dit",
        "bridge": "dual_tower_bridge",
    }
    for component, folder in folders.items():
        ours = load_file(source / "release" / f"{component}.safetensors")
        theirs = load_file(out / folder / "diffusion_pytorch_model.safetensors")
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    index = json.loads((out / "model_index.json").read_text())
    assert {path.name for path in out.iterdir()} == {key for key, value in index.items() if isinstance(value, list)} | {
        "model_index.json"
    }


def test_an_unfinished_run_says_how_to_release_it(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = toy_run.phase("audio_pretraining")
    checkpoint = max((run_folder / "checkpoints").glob("step-*"))
    capsys.readouterr()
    assert run(["export", str(checkpoint), "--layout", "mova", "--out", str(tmp_path / "out")]) == 65
    (line,) = capsys.readouterr().err.splitlines()
    assert f"talkies export {checkpoint} --consolidate --out RELEASE" in line
    assert not list(tmp_path.iterdir())


def test_a_registered_adapter_is_merged(toy_run: ToyRun, tmp_path: Path) -> None:
    out, lora = tmp_path / "out", "models:/mova-toy@champion"
    options = ["--components", "video_high,video_low", "--runs", str(toy_run.runs)]
    assert run(["export", lora, "--layout", "wan", "--out", str(out), "--merge", *options]) == 0
    base = load_file(toy_run.phase("high_resolution") / "release" / "video_high.safetensors")
    merged = load_file(out / "high_noise_model" / "diffusion_pytorch_model.safetensors")
    changed = {key for key, value in base.items() if not torch.equal(value, merged[key])}
    assert changed
    assert all(".q." in key or ".k." in key or ".v." in key or ".o." in key or ".ffn." in key for key in changed)
