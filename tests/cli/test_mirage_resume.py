"""Phases of Mirage video and Mirage audio stopped and continued: in one process, on several, and as an adapter."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from given_sounds import packets
from speaking import recorded, voice
from test_deepspeed_runs import LAUNCH, ZERO
from test_many_ranks import DDP, SEQUENCE
from toy_run import ToyRun, released
from trained_again import FSDP, adapter_of, as_alone, in_parts, only, words

from talkies.cli.main import run

PARENT = {"warm_up": "video_pretraining", "reference": "stitch", "cloning": "speech"}
VIDEO = ("warm_up", "reference")
SYSTEM = {**dict.fromkeys(VIDEO, "mirage_run"), "cloning": "voices_run"}
"""Phase -> the fixture of the curriculum that it is of."""
FROZEN = {"warm_up": ("video", "text")}
"""Phase -> the components that it does not train."""
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def whole(phase: str, request: pytest.FixtureRequest) -> ToyRun:
    """The curriculum of the test's phase."""
    found: ToyRun = request.getfixturevalue(SYSTEM[phase])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("phase", PARENT)
def test_a_stopped_phase_ends_bitwise_like_a_whole_one(whole: ToyRun, tmp_path: Path, phase: str) -> None:
    """Cloning with references that are degraded, of which each visit has its own."""
    for stop in (["--stop-at", "1"], ["--stop-at", "3"], []):
        assert run(words(whole, tmp_path, phase, *stop, parent=PARENT[phase])) == 0
    assert released(only(tmp_path, phase)) == released(whole.phase(phase))


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["reference", "cloning"])
def test_an_adapter_of_the_last_phase_resumes_and_is_promoted_and_samples(
    whole: ToyRun, tmp_path: Path, phase: str
) -> None:
    more = ["name=person", "train={kind: lora, rank: 2, alpha: 2, targets: [q, k, v, o]}", "tracking.register=person"]
    rates = {name: 0.01 for name in ("video", "sound") if (whole.phase(phase) / f"release/{name}.safetensors").exists()}
    more += [f"optimizer.lr={json.dumps(rates)}", "optimizer.warmup=0"]
    folder = in_parts(whole, tmp_path, phase, *more, parent=phase, name="person")
    adapter_of(folder, phase, tmp_path / "made")
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
    folder = in_parts(whole, tmp_path, phase, *layout, parent=PARENT[phase])
    heldout = "sound" if phase == "cloning" else "video"
    as_alone(folder, whole.phase(phase), heldout, FROZEN.get(phase, ()))


@pytest.mark.ranks
@pytest.mark.parametrize("phase", VIDEO)
def test_deepspeed_on_the_cpu_not_the_cuda_path_is_continued_by_other_layouts(
    mirage_run: ToyRun, tmp_path: Path, phase: str
) -> None:
    """Stage 3 to step 2, stage 2 to step 3, and one process to the end, which is that of one process alone."""
    command = partial(words, mirage_run, tmp_path, phase, parent=PARENT[phase])
    for stage in (3, 2):
        stop = [*ZERO, f"parallel.stage={stage}", "--stop-at", str(5 - stage)]
        arguments = [sys.executable, *LAUNCH, *command(*stop)]
        done = subprocess.run(arguments, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert run(command()) == 0
    as_alone(only(tmp_path, phase), mirage_run.phase(phase), "video", FROZEN.get(phase, ()))
