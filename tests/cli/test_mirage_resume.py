"""Phases of Mirage video and Mirage audio stopped and continued: in one process, on several, and as an adapter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from given_sounds import packets
from speaking import recorded, voice
from test_deepspeed_runs import LAUNCH, ZERO
from test_many_ranks import DDP, SEQUENCE, close
from toy_run import TINY, ToyRun, released

from talkies.checkpoints.release import load_component, read_release
from talkies.cli.main import run

PARENT = {"warm_up": "video_pretraining", "reference": "stitch", "cloning": "speech"}
VIDEO = ("warm_up", "reference")
SYSTEM = {**dict.fromkeys(VIDEO, "mirage_run"), "cloning": "voices_run"}
"""Phase -> the fixture of the curriculum that it is of."""
COMPONENTS = ("video", "text", "sound")
FSDP = ["parallel.kind=fsdp2", "parallel.shard=2"]
pytestmark = pytest.mark.timeout(600)


def words(made: ToyRun, runs: Path, phase: str, *more: str, base: str | None = None) -> list[str]:
    """The phase as the curriculum trained it, or from the phase `base`."""
    parent = f"parents.base={made.phase(base or PARENT[phase])}"
    where = [f"data.root={made.data}", "--runs", str(runs), "--quiet"]
    return ["train", str(made.recipes / f"{phase}.yaml"), *TINY, "tracking.gates=[]", parent, *where, *more]


@pytest.fixture
def whole(phase: str, request: pytest.FixtureRequest) -> ToyRun:
    """The curriculum of the test's phase."""
    found: ToyRun = request.getfixturevalue(SYSTEM[phase])
    return found


def only(runs: Path, name: str) -> Path:
    (folder,) = runs.glob(f"{name}-*/*")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("phase", PARENT)
def test_a_stopped_phase_ends_bitwise_like_a_whole_one(whole: ToyRun, tmp_path: Path, phase: str) -> None:
    """Cloning with references that are degraded, of which each visit has its own."""
    for stop in (["--stop-at", "1"], ["--stop-at", "3"], []):
        assert run(words(whole, tmp_path, phase, *stop)) == 0
    assert released(only(tmp_path, phase)) == released(whole.phase(phase))


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["reference", "cloning"])
def test_an_adapter_of_the_last_phase_resumes_and_is_promoted_and_samples(
    whole: ToyRun, tmp_path: Path, phase: str
) -> None:
    more = ["name=person", "train={kind: lora, rank: 2, alpha: 2, targets: [q, k, v, o]}", "tracking.register=person"]
    rates = {name: 0.01 for name in ("video", "sound") if (whole.phase(phase) / f"release/{name}.safetensors").exists()}
    more += [f"optimizer.lr={json.dumps(rates)}", "optimizer.warmup=0"]
    for name, stops in (("whole", [[]]), ("parts", [["--stop-at", "2"], []])):
        for stop in stops:
            assert run(words(whole, tmp_path / name, phase, *more, *stop, base=phase)) == 0
    folder = only(tmp_path / "parts", "person")
    assert released(folder) == released(only(tmp_path / "whole", "person"))
    info = read_release(folder / "release")
    assert (info["components"], info["base"]["name"]) == ({}, phase)
    assert run(["export", str(folder), "--consolidate", "--out", str(tmp_path / "made")]) == 0
    adapter = "adapter/adapter_model.safetensors"
    assert read_release(tmp_path / "made")["files"][adapter] == info["files"][adapter]
    runs = ["--runs", str(tmp_path / "parts")]
    assert run(["promote", str(folder), *runs]) == 0
    given = recorded(tmp_path / "given.wav", voice(2.0))
    out, option = (tmp_path / "out.mp4", "--audio") if phase == "reference" else (tmp_path / "out.wav", "--voice")
    asked = [] if phase == "reference" else ["--prompt", "<script> so ba"]
    assert run(["sample", "models:/person@champion", *asked, option, str(given), "--out", str(out), *runs]) == 0
    assert (packets(out) == packets(given)) == (phase == "reference"), "the sound that is given, or another one"


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("phase", "layout"),
    [("warm_up", DDP), ("warm_up", FSDP), ("reference", FSDP), ("reference", SEQUENCE), ("cloning", SEQUENCE)],
    ids=str,
)
def test_two_processes_resume_exactly_and_arrive_where_one_does(
    whole: ToyRun, tmp_path: Path, phase: str, layout: list[str]
) -> None:
    for name, stops in (("whole", [[]]), ("parts", [["--stop-at", "2"], []])):
        for stop in stops:
            assert run(words(whole, tmp_path / name, phase, *layout, *stop)) == 0
    parts, alone = only(tmp_path / "parts", phase), whole.phase(phase)
    assert released(parts) == released(only(tmp_path / "whole", phase))
    for component in read_release(alone / "release")["components"]:
        assert close(parts / "release", alone / "release", component) < 5e-5
    ours, theirs = (json.loads((path / "result.json").read_text())["metrics"] for path in (parts, alone))
    for key in ("heldout/sound" if phase == "cloning" else "heldout/video", "train/loss"):
        assert ours[key] == pytest.approx(theirs[key], rel=1e-4)
    if phase == "warm_up":
        frozen = [f"{name}.safetensors" for name in ("video", "text")]
        assert [released(parts)[name] for name in frozen] == [released(alone)[name] for name in frozen]


@pytest.mark.ranks
@pytest.mark.parametrize("phase", VIDEO)
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
