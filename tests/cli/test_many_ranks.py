"""Training on several processes through the command line: started, stopped, and continued on another layout."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from signalled import LONG, SLOW, line_after_signal, saved
from toy_run import RECIPES, TINY, ToyRun

from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.release import load_component, read_release
from talkies.checkpoints.store import CheckpointStore
from talkies.cli.main import run

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]
DDP = ["parallel.kind=ddp", "parallel.replicate=2"]
SEQUENCE = ["parallel.kind=fsdp2", "parallel.shard=2", "parallel.sequence=2"]


def words(toy_run: ToyRun, runs: Path, phase: str, *more: str) -> list[str]:
    parents = {"joint_phase1": [f"parents.{m}={toy_run.phase(f'{m}_pretraining')}" for m in ("video", "audio")]}
    recipe = str(RECIPES / f"{phase}.yaml")
    fixed = [*TINY, *parents.get(phase, []), f"data.root={toy_run.data}", "--runs", str(runs), "--quiet"]
    return ["train", recipe, *fixed, *more]


def close(a: Path, b: Path, component: str) -> float:
    """The largest difference between two releases' weights."""
    ours, theirs = load_component(a, component), load_component(b, component)
    assert ours.keys() == theirs.keys()
    return max(float((ours[key] - theirs[key]).abs().max()) for key in ours)


@pytest.mark.fault("24", "world size change", injected="2 sequence shards -> 2 replicas, against 1 process")
def test_stopped_on_two_shards_of_a_sequence_and_continued_by_two_replicas(
    toy_run: ToyRun, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    """Both layouts together arrive at the result of the curriculum's phase, which one process trained."""
    assert run(words(toy_run, tmp_path, "joint_phase1", *SEQUENCE, "--stop-at", "2")) == 0
    (folder,) = tmp_path.glob("joint_phase1-*/0001")
    stored = {path.name for path in (folder / "checkpoints" / "step-00000002").rglob("*")}
    assert {"__0_0.distcp", "__1_0.distcp", "generators-00001.safetensors"} <= stored
    made = tmp_path / "consolidated"
    assert run(["export", str(folder), "--consolidate", "--out", str(made)]) == 0
    assert read_release(made)["step"] == 2
    assert run(words(toy_run, tmp_path, "joint_phase1", *DDP)) == 0
    assert list(tmp_path.glob("joint_phase1-*/*")) == [folder], "a layout is no other run"
    alone = toy_run.phase("joint_phase1")
    for component in read_release(alone / "release")["components"]:
        assert close(folder / "release", alone / "release", component) < 2e-5
    ours, theirs = (json.loads((path / "result.json").read_text())["metrics"] for path in (folder, alone))
    assert ours["heldout/video"] == pytest.approx(theirs["heldout/video"], rel=1e-4)
    assert ours["train/loss"] == pytest.approx(theirs["train/loss"], rel=1e-4)
    lines = [json.loads(line) for line in (folder / "spool.jsonl").read_text().splitlines()]
    assert sum(line["kind"] == "begin" for line in lines) == 2, "only one process writes records"
    record_outcome("weights within 2e-5 (fp32)", steps_lost=0)


@pytest.mark.parametrize("phase", ["joint_phase1", "lora"])
def test_a_consolidated_checkpoint_is_what_the_run_released(toy_run: ToyRun, tmp_path: Path, phase: str) -> None:
    folder, made = toy_run.phase(phase), tmp_path / "made"
    assert run(["export", str(folder / "checkpoints" / "step-00000004"), "--consolidate", "--out", str(made)]) == 0
    ours, theirs = read_release(made), read_release(folder / "release")
    weights = [name for name in theirs["files"] if name.endswith(".safetensors")]
    assert weights
    assert {name: ours["files"][name]["sha256"] for name in weights} == {
        name: theirs["files"][name]["sha256"] for name in weights
    }
    assert ours["parents"] == theirs["parents"]
    assert run(["export", str(folder), "--consolidate", "--out", str(made)]) == 2, "nothing is overwritten"


def test_torchrun_evaluates_samples_and_promotes_with_shards_of_the_weights(toy_run: ToyRun, tmp_path: Path) -> None:
    """Sharded weights give the metrics of whole ones, and only the main process writes."""
    source = tmp_path / "run"
    shutil.copytree(toy_run.phase("lora"), source)
    known = json.loads((source / "evaluation.json").read_text())["metrics"]
    for name in ("evaluation.json", "run.json", "spool.jsonl"):
        (source / name).unlink()
    program = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "talkies.cli.main"]
    clip = tmp_path / "clip.mp4"
    store = ["--tracking-uri", f"sqlite:///{tmp_path / 'own.db'}"]
    for verb in (["sample", str(source), "--prompt", "a cat", "--out", str(clip)], ["promote", str(source), *store]):
        done = subprocess.run([sys.executable, *program, *verb], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == {"sample": 1, "promote": 2}[verb[0]], done.stdout
    assert clip.stat().st_size > 1000
    found = json.loads((source / "evaluation.json").read_text())["metrics"]
    assert found.keys() == known.keys()
    for key in ("evaluation/heldout/video", "evaluation/heldout/audio", "evaluation/sync_reference"):
        assert found[key] == pytest.approx(known[key], rel=1e-4), key


def test_a_signal_to_the_launcher_stops_every_rank_at_the_same_step(toy_run: ToyRun, tmp_path: Path) -> None:
    words = [str(RECIPES / "audio_pretraining.yaml"), *LONG, f"data.root={toy_run.data}", *DDP]
    words += ["--runs", str(tmp_path)]
    assert "after step" in line_after_signal(signal.SIGTERM, words, ready=partial(saved, tmp_path))


def process_of(rank: int, word: str) -> int:
    """The process of this rank among those with `word` in their command line."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            ranked = f"RANK={rank}".encode() in (path / "environ").read_bytes().split(b"\0")
            if ranked and word.encode() in (path / "cmdline").read_bytes():
                return int(path.name)
    raise AssertionError(f"no process with rank {rank} of {word}")


@pytest.mark.fault("5", "SIGTERM to one rank only", injected="kill rank 1 of 2 under torchrun")
def test_a_signal_to_one_rank_of_torchrun_is_reported_by_the_main_process(
    toy_run: ToyRun, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    """It must do so before torchrun, which has seen the other rank exit, ends it. Both ranks save the same step."""
    phase = [str(RECIPES / "audio_pretraining.yaml"), *LONG, f"data.root={toy_run.data}", *DDP]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "-m", "talkies.cli.main", "train", *phase, "--runs", str(tmp_path), "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not saved(tmp_path):
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process_of(1, str(tmp_path)), signal.SIGTERM)
    began = time.monotonic()
    _, errors = process.communicate(timeout=200)
    seconds = time.monotonic() - began
    (line,) = (line for line in errors.splitlines() if line.startswith("talkies: "))
    found = re.search(r"stopped by SIGTERM after step (\d+)", line)
    assert found is not None, line
    (run_folder,) = tmp_path.glob("audio_pretraining-*/0001")
    newest = CheckpointStore(run_folder / "checkpoints").latest()
    assert newest is not None
    assert read_loop(newest)["step"] == int(found[1])
    assert {"generators.safetensors", "generators-00001.safetensors"} <= {path.name for path in newest.iterdir()}
    assert seconds < 30
    record_outcome("both ranks save the same step and exit", steps_lost=0, back_s=seconds)


def test_one_shard_is_a_layout_too(toy_run: ToyRun, tmp_path: Path) -> None:
    """`plan --card` proposes this layout if one GPU is enough."""
    assert run(words(toy_run, tmp_path, "audio_pretraining", "parallel.kind=fsdp2", "parallel.shard=1")) == 0
    (folder,) = tmp_path.glob("audio_pretraining-*/0001")
    assert close(folder / "release", toy_run.phase("audio_pretraining") / "release", "audio") < 2e-5


def test_a_killed_rank_ends_the_others_with_a_line_before_the_first_step(toy_run: ToyRun, tmp_path: Path) -> None:
    """torchrun sends them SIGTERM, while they build the model."""
    marker, script = tmp_path / "building", tmp_path / "slow.py"
    script.write_text(SLOW.format(module="talkies.runs.train", name="build_model", marker=str(marker)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    command = [*torchrun, *words(toy_run, tmp_path / "runs", "audio_pretraining", *DDP)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    ranks = [Path(f"{marker}{rank}") for rank in (0, 1)]
    while not all(rank.exists() and rank.read_text() for rank in ranks):
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(int(ranks[1].read_text()), signal.SIGKILL)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert [line for line in errors.splitlines() if line.startswith("talkies: ")] == ["talkies: interrupted by SIGTERM"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["parallel.kind=fsdp2", "parallel.shard=4", "parallel.sequence=3"], "divisors: 1, 2, 4"),
        (["parallel.kind=ddp", "parallel.replicate=3"], "nearest: 3 or 6"),
        (["parallel.kind=fsdp2"], "parallel.shard"),
        (["parallel.kind=ddp", "parallel.sequence=2"], "parallel.sequence"),
        (["parallel.kind=fsdp3"], "parallel.kind"),
    ],
)
def test_a_layout_that_does_not_fit_is_one_line(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: list[str], message: str
) -> None:
    assert run(words(toy_run, tmp_path, "joint_phase1", *changed)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.fault("24", "world size change", injected="4 processes for a layout of 2")
def test_another_number_of_processes_than_the_layout_is_refused(
    toy_run: ToyRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    record_outcome: Callable[..., None],
) -> None:
    started = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    assert run(words(toy_run, tmp_path, "audio_pretraining", *DDP)) == 2
    assert "layout has 2 ranks (`parallel`), but 4 processes were started" in capsys.readouterr().err
    monkeypatch.delenv("LOCAL_RANK")
    assert run(words(toy_run, tmp_path, "audio_pretraining", *DDP)) == 2
    assert "set without LOCAL_RANK" in capsys.readouterr().err
    record_outcome("exit 2 with both numbers")


HERE = {"MASTER_ADDR": "127.0.0.1"}


@pytest.mark.parametrize(
    ("rank", "place", "message"),
    [
        (0, {}, r"\(MASTER_ADDR not set, MASTER_PORT '\d+'\): .*MASTER_ADDR expected"),
        (1, {}, r"\(MASTER_ADDR not set, MASTER_PORT '\d+'\): .*MASTER_ADDR expected"),
        (0, {**HERE, "MASTER_PORT": "99999"}, r"MASTER_PORT '99999'\): port must have value"),
        (0, {**HERE, "MASTER_PORT": "a"}, r"MASTER_PORT 'a'\): invalid literal"),
        (0, HERE, r"MASTER_PORT '\d+'\): .*address already in use"),
    ],
)
def test_processes_that_cannot_meet_say_why(
    toy_run: ToyRun, tmp_path: Path, rank: int, place: dict[str, str], message: str
) -> None:
    """Unless told otherwise, they are to meet at a port that is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        started = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
        environment = {**os.environ, **started, "MASTER_PORT": str(taken.getsockname()[1]), **place}
        command = words(toy_run, tmp_path / "runs", "audio_pretraining", *DDP)
        program = [sys.executable, "-m", "talkies.cli.main", *command]
        done = subprocess.run(program, check=False, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 70
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("talkies: "))
    assert line.startswith("talkies: rank 1: parallel: " if rank else "talkies: parallel: the 2 processes have not met")
    assert re.search(message, line)
    assert not (tmp_path / "runs").exists()
