"""Runs of `talkies train` in processes of their own: undisturbed ones, and those with injected faults."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from toy_run import RECIPES, locked

from talkies.checkpoints.store import CheckpointStore
from talkies.cli.main import run
from talkies.config import CheckpointError

HERE = Path(__file__).parent
CLIPS, BATCH, STEPS = 64, 4, 20
"""16 steps are one pass over the clips."""
VOICES = {"source": "faces", "geometry": "32x32x25@12.5", "modalities": ["audio"], "duration_token": True}
PREPARE = {
    "kind": "prepare",
    "name": "faults",
    "sources": {"faces": {"kind": "synthetic", "clips": CLIPS + 8, "heldout": 8}},
    "codecs": {"video": {"kind": "linear_video"}, "audio": {"kind": "linear_audio"}, "text": {"kind": "bytes"}},
    "fit_sets": ["voices"],
    "fit_clips": 8,
    "sets": {"voices": VOICES, "voices_heldout": {**VOICES, "split": "heldout"}},
}
WORDS = {
    "steps.max": STEPS,
    "steps.global_batch": BATCH,
    "steps.log_every": 1,
    "steps.checkpoint_every": 5,
    "validation.every": 100000,
    "validation.clips": 8,
    "validation.samples": 0,
    "sampling.steps": 2,
    "optimizer.warmup": 4,
}
LONG: dict[str, object] = {"steps.max": 200}


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A process that has ended: its exit code, its output, when it began and ended, its micro-batches, and when faults
    were injected."""

    code: int
    out: str
    err: str
    began: float
    ended: float
    made: list[dict[str, Any]]
    fault_times: list[float]

    @property
    def said(self) -> list[str]:
        """Its own lines on stderr."""
        return [line for line in self.err.splitlines() if line.startswith("talkies: ")]

    @property
    def steps(self) -> list[int]:
        """The optimizer steps that it made, in order."""
        return list(dict.fromkeys(line["step"] for line in self.made))

    @property
    def back_s(self) -> float:
        """Seconds from the start of the process, imports and all, to the end of its first optimizer step."""
        return float(self.made[0]["time"]) - self.began


@dataclass
class TrainingRun:
    """A phase trained on `data`, in its own runs folder; `words`: overrides by key."""

    runs: Path
    data: Path
    words: dict[str, object] = field(default_factory=dict)
    recipe: str = "audio_pretraining"
    pace: float = 0.0

    @property
    def folder(self) -> Path:
        (found,) = self.runs.glob(f"{self.recipe}-*/0001")
        return found

    @property
    def store(self) -> CheckpointStore:
        return CheckpointStore(self.folder / "checkpoints")

    @property
    def record(self) -> Path:
        return self.runs / "record.jsonl"

    def lines(self) -> list[dict[str, Any]]:
        """All micro-batches of all attempts, without one that is being written."""
        text = self.record.read_text() if self.record.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def command(self, faults: Sequence[dict[str, Any]], *more: str) -> list[str]:
        """The command of an attempt."""
        plan = {"record": str(self.record), "pace": self.pace, "faults": list(faults)}
        words = [f"{key}={value}" for key, value in {**WORDS, **self.words}.items()]
        verb = ["train", str(RECIPES / f"{self.recipe}.yaml"), *words, f"data.root={self.data}"]
        return [sys.executable, str(HERE / "recorded_run.py"), json.dumps(plan), *verb, "--runs", str(self.runs),
                "--quiet", *more]  # fmt: skip

    def attempt(
        self,
        *faults: dict[str, Any],
        more: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        under: Sequence[str] = (),
        meanwhile: Callable[["subprocess.Popen[str]"], object] = lambda _: None,
    ) -> Attempt:
        """Start a process, call `meanwhile` with it, and wait for its end. `under`: a command that starts it."""
        self.runs.mkdir(parents=True, exist_ok=True)
        fault_log, before = self.runs / "fault_times", len(self.lines())
        fault_log.write_text("")
        own = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "OMP_NUM_THREADS": "1"}
        own |= {"WITNESSED": str(fault_log), **(environment or {})}
        began = time.time()
        command = [*under, *self.command(faults, *more)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own) as process:
            try:
                meanwhile(process)
                out, err = process.communicate(timeout=240)
            finally:
                process.kill()
        return Attempt(
            code=process.returncode, out=out, err=err, began=began, ended=time.time(), made=self.lines()[before:],
            fault_times=[float(line) for line in fault_log.read_text().splitlines()],
        )  # fmt: skip

    def newest(self) -> int:
        """The step of the newest complete checkpoint, from which a killed run continues; 0 if there is none."""
        for step in reversed(self.store.steps()):
            try:
                self.store.verify(self.store.path(step))
            except CheckpointError:
                continue
            return step
        return 0


def killed(step: int, *, complete: int | None = None, name: str = "SIGKILL", where: str = "step_end") -> dict[str, Any]:
    """A fault of recorded_run.py."""
    return {"at": step, "where": where, "signal": name, "complete": complete}


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder shared by all workers of pytest-xdist."""
    base = factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "faults"


def prepared(folder: Path) -> Path:
    """The data of all runs, made once."""
    with locked(folder):
        if not (folder / "data").exists():
            (folder / "prepare.yaml").write_text(json.dumps(PREPARE))
            assert run(["prepare", str(folder / "prepare.yaml"), "--runs", str(folder), "--quiet"]) == 0
    (root,) = (folder / "data").iterdir()
    return root


def undisturbed(folder: Path, data: Path, name: str, words: dict[str, object]) -> TrainingRun:
    """The undisturbed run, made once for all rows."""
    whole = TrainingRun(runs=folder / name, data=data, words=dict(words))
    with locked(folder):
        if not whole.runs.exists():
            attempt = whole.attempt()
            assert attempt.code == 0, attempt.err
            (whole.runs / "back_s").write_text(str(attempt.back_s))
    return whole
