"""Signals throughout a start, and in bursts around a checkpoint: exit code 130 and one line; the run can be continued.

(Every 50 ms: `python tests/faults/signalled_start.py`.)
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from mlflow_servers import wait_for
from same_run import check_same
from signalled_start import signalled_process, verbs
from training_runs import TrainingRun

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
LIMIT_S = 5.0
"""CPU seconds of the process itself: the machine may be busy."""
PACE_S = 0.5
"""A pause after every step, so that a run does not end before a process on a busy machine has sent its signals."""
POINTS, SPAN_S = 3, 4.0
"""How many moments, over how many CPU seconds; every signal has its own."""
TRAINING = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")


def spread(number: int) -> list[float]:
    """The moments of the signal with this number."""
    return [SPAN_S * (point + number / len(TRAINING)) / POINTS for point in range(POINTS)]


def test_a_run_interrupted_throughout_its_start(tmp_path: Path, data: Path, whole: TrainingRun) -> None:
    broken = TrainingRun(runs=tmp_path / "runs", data=data)
    broken.runs.mkdir()
    found = [
        signalled_process(broken.command([]), signal.Signals[name], at)
        for number, name in enumerate(TRAINING)
        for at in spread(number)
    ]
    assert [one for one in found if not one.clean] == []
    assert max(one.used for one in found) < LIMIT_S
    last = broken.attempt()
    assert last.code == 0, last.err
    assert check_same(broken, whole) == []


@pytest.mark.parametrize("verb", ["sample", "evaluate", "prepare"])
def test_every_verb_that_samples_or_prepares(tmp_path: Path, data: Path, whole: TrainingRun, verb: str) -> None:
    words = verbs(tmp_path, data, whole.folder)[verb]
    found = [signalled_process(words, signal.Signals[TRAINING[n]], at) for n in (0, 1) for at in spread(n)]
    assert [one for one in found if not one.clean] == []
    assert max(one.used for one in found) < LIMIT_S
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def to_all(broken: TrainingRun, number: signal.Signals, process: "subprocess.Popen[str]") -> None:
    """Signal the whole process group, as a terminal and Slurm do."""
    known = len(broken.lines())
    while process.poll() is None and len(broken.lines()) < known + 2:
        time.sleep(0.01)
    os.killpg(process.pid, number)


def test_a_signal_to_every_process_of_a_run(tmp_path: Path, data: Path, whole: TrainingRun) -> None:
    """Loader workers live until everything is saved, and not longer."""
    broken = TrainingRun(runs=tmp_path / "runs", data=data, words={"data.workers": 2, "steps.checkpoint_every": 100})
    broken.pace = PACE_S
    for name in TRAINING:
        attempt = broken.attempt(meanwhile=partial(to_all, broken, signal.Signals[name]), under=["setsid"])
        assert attempt.code == 130, attempt.err
        (line,) = attempt.err.splitlines()
        assert f"stopped by {name}" in line
        assert attempt.steps[-1] == broken.newest(), "every step is saved"
        wait_for(lambda: not left_behind(tmp_path), "the workers' end")
    broken.pace = 0.0
    last = broken.attempt()
    assert last.code == 0, last.err
    assert check_same(broken, whole) == []


def left_behind(folder: Path) -> list[str]:
    """The commands of running processes with `folder` in them, uploaders aside."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text())
    return [words for words in found if str(folder) in words and "uploader" not in words]


def burst(broken: TrainingRun, seed: int, process: "subprocess.Popen[str]") -> None:
    """Three SIGINTs 10 ms apart and a SIGTERM, around the time at which a checkpoint is written."""
    generator = random.Random(seed)
    known = broken.newest() if broken.runs.joinpath("record.jsonl").exists() else 0
    while process.poll() is None and not any(
        step > known or path.suffix == ".tmp"
        for path in broken.runs.glob("*/0001/checkpoints/step-*")
        for step in [int(path.name.split("-")[1][:8])]
    ):
        time.sleep(0.001)
    time.sleep(generator.uniform(0.0, 0.05))
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        if process.poll() is None:
            process.send_signal(number)
        time.sleep(generator.choice([0.0, 0.01]))


@pytest.mark.fault("6", "second signal during a save", injected="SIGINT three times 10 ms apart, and SIGTERM")
def test_bursts_around_a_checkpoint(
    tmp_path: Path, data: Path, whole: TrainingRun, record_outcome: Callable[..., None]
) -> None:
    broken = TrainingRun(runs=tmp_path / "runs", data=data, words={"steps.checkpoint_every": 1, "steps.keep": 30})
    broken.pace = PACE_S
    for seed in range(4):
        attempt = broken.attempt(meanwhile=partial(burst, broken, seed))
        assert attempt.code == 130, attempt.err
        (line,) = attempt.err.splitlines()
        assert "stopped by SIG" in line
        assert attempt.steps[-1] == broken.newest(), "every step is saved"
    broken.pace = 0.0
    last = broken.attempt()
    assert last.code == 0, last.err
    assert check_same(broken, whole) == []
    record_outcome("130 and one line, saved; all equal, bitwise", steps_lost=0)
