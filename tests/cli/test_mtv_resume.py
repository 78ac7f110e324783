"""Phases of MTV stopped and continued: in one process, on several, and as an adapter."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from test_deepspeed_runs import LAUNCH, ZERO
from test_many_ranks import DDP, SEQUENCE, close
from toy_run import TINY, ToyRun, released
from trained_again import FSDP, adapter_of, as_alone, in_parts, only, words

from talkies.cli.main import run

PARENT = {
    "video_pretraining": None,
    "single_character": "basic_face",
    "multiple_characters": "single_character",
    "sound_event": "multiple_characters",
    "visual_mood": "sound_event",
}
FROZEN = {"single_character": ("video",), "sound_event": ("video",)}
"""Phase -> the components that it does not train."""
KNOWN = "phase.known_frames={head: 0.3, random: 0.3, tail: 0.2}"
DROPPED = "phase.tracks_dropout=0.4"
ULYSSES = ["parallel.sequence=2"]
pytestmark = pytest.mark.timeout(600)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["video_pretraining", "single_character", "multiple_characters", "visual_mood"])
def test_a_stopped_phase_ends_bitwise_like_a_whole_one(mtv_run: ToyRun, tmp_path: Path, phase: str) -> None:
    for stop in (["--stop-at", "1"], ["--stop-at", "3"], []):
        assert run(words(mtv_run, tmp_path, phase, *stop, parent=PARENT[phase])) == 0
    assert released(only(tmp_path, phase)) == released(mtv_run.phase(phase))


@pytest.mark.slow
@pytest.mark.parametrize("trains", ["control", "all"])
def test_known_frames_and_dropped_tracks_are_those_of_the_whole_run(
    mtv_run: ToyRun, tmp_path: Path, trains: str
) -> None:
    """Each is a function of the seed, the clip and the visit, and both are frequent here."""
    more = [KNOWN, DROPPED, f"phase.trains={trains}", "steps.accumulate=2"]
    found = released(in_parts(mtv_run, tmp_path, "visual_mood", *more, parent="sound_event"))
    before = released(mtv_run.phase("sound_event"))
    same = {name for name in before if found[name] == before[name] and "/" not in name}
    assert same == ({"video.safetensors", "attention.safetensors"} if trains == "control" else set())


@pytest.mark.slow
def test_an_adapter_resumes(mtv_run: ToyRun, tmp_path: Path) -> None:
    more = ["name=person", "train={kind: lora, rank: 2, alpha: 2, targets: [q, k, v, o]}", "optimizer.warmup=0"]
    more += ["phase.trains=all", "tracking.register=null", KNOWN]
    folder = in_parts(mtv_run, tmp_path, "visual_mood", *more, parent="visual_mood", name="person")
    adapter_of(folder, "visual_mood", tmp_path / "made")


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("phase", "layout"),
    [("video_pretraining", SEQUENCE), ("single_character", FSDP), ("visual_mood", DDP), ("visual_mood", SEQUENCE)],
    ids=str,
)
def test_two_processes_resume_exactly_and_arrive_where_one_does(
    mtv_run: ToyRun, tmp_path: Path, phase: str, layout: list[str]
) -> None:
    folder = in_parts(mtv_run, tmp_path, phase, *layout, parent=PARENT[phase])
    as_alone(folder, mtv_run.phase(phase), "video", FROZEN.get(phase, ()))


@pytest.mark.ranks
def test_two_shards_of_a_sequence_on_wan_arrive_where_one_process_does(mtv_run: ToyRun, tmp_path: Path) -> None:
    """From nothing, so that all of it trains."""
    recipe, fresh = str(mtv_run.recipes / "wan_steering.yaml"), ["parents.base=null", "tracking.register=null"]
    for name, layout in (("alone", []), ("two", SEQUENCE)):
        where = [f"data.root={mtv_run.data}", "--runs", str(tmp_path / name), "--quiet", "tracking.gates=[]"]
        assert run(["train", recipe, *TINY, *fresh, *where, *layout]) == 0
    ours, theirs = (only(tmp_path / name, "wan_steering") / "release" for name in ("two", "alone"))
    for component in ("video", "control"):
        assert close(ours, theirs, component) < 5e-5


@pytest.mark.ranks
@pytest.mark.parametrize(("phase", "sequence"), [("visual_mood", []), ("sound_event", ULYSSES)], ids=str)
def test_deepspeed_on_the_cpu_not_the_cuda_path_is_continued_by_other_layouts(
    mtv_run: ToyRun, tmp_path: Path, phase: str, sequence: list[str]
) -> None:
    """Stage 3 to step 2, stage 2, as at full scale, to step 3, and one process to the end."""
    command = partial(words, mtv_run, tmp_path, phase, parent=PARENT[phase])
    for stage in (3, 2):
        stop = [*ZERO, *sequence, f"parallel.stage={stage}", "--stop-at", str(5 - stage)]
        arguments = [sys.executable, *LAUNCH, *command(*stop)]
        done = subprocess.run(arguments, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert run(command()) == 0
    as_alone(only(tmp_path, phase), mtv_run.phase(phase), "video", FROZEN.get(phase, ()))
