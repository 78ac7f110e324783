"""A run of two processes, one of which hangs or is slow, through the command line."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from toy_run import RECIPES, TINY, ToyRun, released

from talkies.checkpoints.store import CheckpointStore
from talkies.cli.main import run
from talkies.resilience.heartbeat import last_hang

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]
PROGRAM = Path(__file__).with_name("faulty_rank.py")
OURS, TORCHRUN = [], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
LIMIT_S, LAST = 10.0, 8
REPLACED = ("steps.max", "validation.every", "steps.log_every")
PHASE = [
    *(text for text in TINY if not text.startswith(REPLACED)),
    "parallel.kind=ddp",
    "parallel.replicate=2",
    "steps.log_every=1",
    "validation.every=100",
]


def words(toy_run: ToyRun, runs: Path, *more: str) -> list[str]:
    recipe = str(RECIPES / "audio_pretraining.yaml")
    return ["train", recipe, *PHASE, f"data.root={toy_run.data}", "--runs", str(runs), "--quiet", *more]


def at_fault(launcher: list[str], mark: Path, fault: list[str], command: list[str]) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, *launcher, str(PROGRAM), str(mark), *fault, *command]
    return subprocess.run(program, check=False, capture_output=True, text=True, timeout=300, env={**os.environ})


def messages_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("talkies: ")]


def status(folder: Path) -> str:
    with redirect_stdout(io.StringIO()) as output:
        assert run(["status", str(folder)]) == 0
    return output.getvalue()


@pytest.fixture(scope="module")
def alone(toy_run: ToyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run without a fault."""
    runs = tmp_path_factory.mktemp("alone")
    assert run(words(toy_run, runs, f"steps.max={LAST}")) == 0
    (folder,) = runs.glob("*/0001")
    return folder


@pytest.mark.fault("20", "hang on one rank", injected="rank 1 sleeps for ever in step 6 of a DDP run")
@pytest.mark.parametrize("launcher", [OURS, TORCHRUN], ids=["ours", "torchrun"])
def test_a_rank_that_sleeps_for_ever_ends_the_run_which_then_continues_bitwise(
    toy_run: ToyRun, tmp_path: Path, alone: Path, launcher: list[str], record_outcome: Callable[..., None]
) -> None:
    mark = tmp_path / "mark"
    limits = ["survival.watchdog.first_s=120", f"survival.watchdog.later_s={LIMIT_S:g}"]
    command = words(toy_run, tmp_path / "runs", f"steps.max={LAST}", *limits)
    done = at_fault(launcher, mark, ["step", "5:", "9999"], command)
    seconds = time.time() - float(mark.read_text())
    assert done.returncode == (71 if launcher is OURS else 1), done.stderr
    assert seconds < LIMIT_S + 10, done.stderr
    (folder,) = (tmp_path / "runs").glob("*/0001")
    line = next(line for line in messages_of(done) if "hang: " in line)
    assert "hang: rank 1 of 2 has been in the forward pass after step 5 for 1" in line
    assert "the others wait, rank 0 in the " in line
    assert sum("hang: " in line for line in messages_of(done)) == 1
    (stacks,) = folder.glob("hangs/*-rank-1.txt")
    assert str(stacks) in line
    source = PROGRAM.read_text().splitlines().index("            time.sleep(seconds)") + 1
    assert f'faulty_rank.py", line {source} in late' in stacks.read_text()
    assert [*folder.glob("hangs/*-rank-0.txt")]
    assert str(last_hang(folder)).partition(" UTC: ")[2] in line
    assert line.partition("hang: ")[2] in status(folder)
    reached = CheckpointStore(folder / "checkpoints").steps()[-1]
    began = time.time()
    assert run(command) == 0
    back = time.time() - began
    assert released(folder) == released(alone)
    assert "hang: " not in status(folder), "it has ended well"
    outcome = f"rank and activity named, stacks, ended {seconds - LIMIT_S:.1f} s after the limit; then bitwise equal"
    record_outcome(outcome, steps_lost=5 - reached, back_s=back)


@pytest.mark.fault("21", "straggler", injected="rank 1 sleeps three medians of a step, or while it reads")
@pytest.mark.parametrize(
    ("fault", "split"), [(["step", "2:6", "1.6"], "compute"), (["read", "8:16", "0.8"], "data")], ids=["step", "read"]
)
def test_a_slow_rank_is_reported_and_the_run_continues(
    toy_run: ToyRun, tmp_path: Path, fault: list[str], split: str, record_outcome: Callable[..., None]
) -> None:
    """1.6 s are more than three times the duration of a step of this phase, which reads two clips, on a busy machine,
    too. Should the other rank be slow in one of these four steps, there still are two in a row: enough for the warning,
    but not for another."""
    command = words(toy_run, tmp_path / "runs", "steps.max=7")
    done = at_fault(OURS, tmp_path / "mark", fault, command)
    assert done.returncode == 0, done.stderr
    (line,) = messages_of(done)
    assert line.startswith("talkies: warning: straggler: rank 1 takes ")
    own = dict(part.strip(" (").rsplit(" s", 1)[0].split(" ") for part in line.split("(")[1].split(";")[0].split(","))
    assert float(own[split]) > 0.5
    assert float(own[split]) > sum(float(value) for key, value in own.items() if key != split)
    (folder,) = (tmp_path / "runs").glob("*/0001")
    assert (folder / "result.json").exists()
    spooled = [json.loads(text) for text in (folder / "spool.jsonl").read_text().splitlines()]
    key = "train/slowest_ratio"
    ratios = [entry["values"][key] for entry in spooled if entry["kind"] == "metrics" and key in entry["values"]]
    assert max(ratios) > 3
    record_outcome(line.partition("straggler: ")[2])
