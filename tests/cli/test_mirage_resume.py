"""Mirage's phases stopped and continued: in one process, on several, and as an adapter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from given_sounds import packets, sound_file
from mirage_run import MIRAGE
from test_deepspeed_runs import LAUNCH, ZERO
from test_many_ranks import DDP, SEQUENCE, close
from toy_run import TINY, ToyRun, released

from talkies.checkpoints.release import load_component, read_release
from talkies.cli.main import run

PARENT = {"warm_up": "video_pretraining", "reference": "stitch"}
COMPONENTS = ("video", "text", "sound")
FSDP = ["parallel.kind=fsdp2", "parallel.shard=2"]
pytestmark = pytest.mark.timeout(600)


def words(mirage_run: ToyRun, runs: Path, phase: str, *more: str, base: str | None = None) -> list[str]:
    """The phase as the curriculum trained it, or from the phase `base`."""
    parent = f"parents.base={mirage_run.phase(base or PARENT[phase])}"
    where = [f"data.root={mirage_run.data}", "--runs", str(runs), "--quiet"]
    return ["train", str(MIRAGE / f"{phase}.yaml"), *TINY, "tracking.gates=[]", parent, *where, *more]


def only(runs: Path, name: str) -> Path:
    (folder,) = runs.glob(f"{name}-*/*")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("phase", PARENT)
def test_a_stopped_phase_ends_bitwise_like_a_whole_one(mirage_run: ToyRun, tmp_path: Path, phase: str) -> None:
    for stop in (["--stop-at", "1"], ["--stop-at", "3"], []):
        assert run(words(mirage_run, tmp_path, phase, *stop)) == 0
    assert released(only(tmp_path, phase)) == released(mirage_run.phase(phase))


@pytest.mark.slow
def test_an_adapter_of_the_last_phase_resumes_and_is_promoted_and_samples(mirage_run: ToyRun, tmp_path: Path) -> None:
    more = ["name=person", "train={kind: lora, rank: 2, alpha: 2, targets: [q, k, v, o]}", "tracking.register=person"]
    more += ["optimizer.lr={video: 0.01, sound: 0.01}", "optimizer.warmup=0"]
    for name, stops in (("whole", [[]]), ("parts", [["--stop-at", "2"], []])):
        for stop in stops:
            assert run(words(mirage_run, tmp_path / name, "reference", *more, *stop, base="reference")) == 0
    folder = only(tmp_path / "parts", "person")
    assert released(folder) == released(only(tmp_path / "whole", "person"))
    info = read_release(folder / "release")
    assert (info["components"], info["base"]["name"]) == ({}, "reference")
    assert run(["export", str(folder), "--consolidate", "--out", str(tmp_path / "made")]) == 0
    adapter = "adapter/adapter_model.safetensors"
    assert read_release(tmp_path / "made")["files"][adapter] == info["files"][adapter]
    runs = ["--runs", str(tmp_path / "parts")]
    assert run(["promote", str(folder), *runs]) == 0
    given, out = sound_file(tmp_path / "given.wav", seconds=2.0, beep=0.5), tmp_path / "out.mp4"
    assert run(["sample", "models:/person@champion", "--audio", str(given), "--out", str(out), *runs]) == 0
    assert packets(out) == packets(given)


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("phase", "layout"), [("warm_up", DDP), ("warm_up", FSDP), ("reference", FSDP), ("reference", SEQUENCE)], ids=str
)
def test_two_processes_resume_exactly_and_arrive_where_one_does(
    mirage_run: ToyRun, tmp_path: Path, phase: str, layout: list[str]
) -> None:
    for name, stops in (("whole", [[]]), ("parts", [["--stop-at", "2"], []])):
        for stop in stops:
            assert run(words(mirage_run, tmp_path / name, phase, *layout, *stop)) == 0
    whole, parts, alone = only(tmp_path / "whole", phase), only(tmp_path / "parts", phase), mirage_run.phase(phase)
    assert released(parts) == released(whole)
    for component in COMPONENTS:
        assert close(parts / "release", alone / "release", component) < 5e-5
    ours, theirs = (json.loads((path / "result.json").read_text())["metrics"] for path in (parts, alone))
    for key in ("heldout/video", "train/loss"):
        assert ours[key] == pytest.approx(theirs[key], rel=1e-4)
    if phase == "warm_up":
        frozen = [f"{name}.safetensors" for name in ("video", "text")]
        assert [released(parts)[name] for name in frozen] == [released(alone)[name] for name in frozen]


@pytest.mark.ranks
@pytest.mark.parametrize("phase", PARENT)
def test_deepspeed_on_the_cpu_not_the_cuda_path_is_continued_by_other_layouts(
    mirage_run: ToyRun, tmp_path: Path, phase: str
) -> None:
    """Stage 3 to step 2, stage 2 to step 3, and one process to the end, which is that of one process alone."""
    for stage in (3, 2):
        stop = [*ZERO, f"parallel.stage={stage}", "--stop-at", str(5 - stage)]
        arguments = [sys.executable, *LAUNCH, *words(mirage_run, tmp_path, phase, *stop)]
        done = subprocess.run(arguments, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert run(words(mirage_run, tmp_path, phase)) == 0
    folder, alone = only(tmp_path, phase), mirage_run.phase(phase)
    for component in COMPONENTS:
        assert close(folder / "release", alone / "release", component) < 5e-5
    if phase == "warm_up":
        for component in ("video", "text"):
            ours, theirs = load_component(folder / "release", component), load_component(alone / "release", component)
            assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
