"""One tiny run of a whole toy curriculum, shared by the tests that inspect its results."""

import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from talkies.checkpoints.release import read_release
from talkies.cli.main import run
from talkies.tracking.replay import replay

RECIPES = Path(__file__).parents[2] / "recipes" / "mova" / "toy"
SMALL = [
    *(f"prepare.sources.{source}.clips=20" for source in ("faces", "faces_high", "masks")),
    *(f"prepare.sources.{source}.heldout=8" for source in ("faces", "faces_high", "masks")),
    "prepare.fit_clips=8",
    "phases.steps.max=4",
    "phases.steps.global_batch=4",
    "phases.steps.log_every=2",
    "phases.steps.checkpoint_every=2",
    "phases.validation.every=4",
    "phases.validation.clips=8",
    "phases.validation.samples=1",
    "phases.validation.sampling_steps=2",
    "phases.validation.final_clips=8",
    "phases.sampling.steps=2",
    "lora.tracking.gates=[{metric: evaluation/sync_reference, op: '>=', value: 0.9}]",
]
PHASES = [text for text in SMALL if text.startswith("phases.")]
"""What makes a phase tiny."""
TINY = [text.removeprefix("phases.") for text in PHASES]
"""The same for a single phase."""
BEING_WRITTEN = ("mlflow.db*", "*.tmp", "*.new", "*.old")
"""Files and folders that a process may remove or be in the middle of writing."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait for another worker that is making the run."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class ToyRun:
    """The folders of the curriculum's run, of its recipes, and what made it tiny."""

    runs: Path
    folder: Path
    recipes: Path
    words: tuple[str, ...]

    def phase(self, name: str) -> Path:
        return next(self.folder.glob(f"[0-9]-{name}"))

    @property
    def data(self) -> Path:
        return next((self.runs / "data").iterdir())

    @property
    def train(self) -> list[str]:
        """The command that made it, for talkies.cli.main.run."""
        return ["train", str(self.recipes / "curriculum.yaml"), *self.words, "--runs", str(self.runs), "--quiet"]

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.runs / 'mlflow.db'}")


def curriculum_run(factory: pytest.TempPathFactory, recipes: Path, words: Sequence[str]) -> ToyRun:
    """The run of the curriculum in `recipes`; made once for all workers of pytest-xdist."""
    base, name = factory.getbasetemp(), recipes.parent.name.replace("_", "-")
    runs = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"{name}-run"
    made = ToyRun(runs=runs, folder=runs, recipes=recipes, words=tuple(words))
    with locked(runs):
        if not (runs / "made").exists():
            assert run(made.train) == 0
            for path in sorted(runs.glob("*-toy-*/0001/**/spool.jsonl")):
                replay(path.parent)  # on a busy machine a phase of seconds ends before its uploader has sent all of it
            (runs / "made").touch()
    (folder,) = runs.glob(f"{name}-toy-*/0001")
    return ToyRun(runs=runs, folder=folder, recipes=recipes, words=made.words)


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    """Render, prepare, six phases of 4 steps, evaluate, promote, sample."""
    return curriculum_run(tmp_path_factory, RECIPES, SMALL)


def copy_runs(
    made: ToyRun, runs: Path, *, copy: Callable[[str, str], object] = shutil.copy2, symlinks: bool = False
) -> None:
    """Copy the runs folder to `runs`, each file by `copy`. Another worker may be using it: what that is writing is left
    out, and the database is copied between its transactions."""
    ignored = shutil.ignore_patterns(*BEING_WRITTEN)
    shutil.copytree(made.runs, runs, copy_function=copy, symlinks=symlinks, ignore=ignored, dirs_exist_ok=True)
    with (
        closing(sqlite3.connect(made.runs / "mlflow.db")) as theirs,
        closing(sqlite3.connect(runs / "mlflow.db")) as ours,
    ):
        theirs.backup(ours)


def ablated(made: ToyRun, phase: str, copy: Path, *, clips: int) -> dict[str, float]:
    """The metrics of a phase's run after `talkies evaluate --ablate` of a `copy` of it, which prints a table, too."""
    shutil.copytree(made.phase(phase), copy)
    assert run(["evaluate", str(copy), "--ablate", "--clips", str(clips), "--runs", str(made.runs)]) == 0
    replay(copy)  # as above
    identity = json.loads((copy / "run.json").read_text())["mlflow_run_id"]
    metrics: dict[str, float] = made.client.get_run(identity).data.metrics
    return metrics


def table_of(printed: str) -> dict[str, list[str]]:
    """The rows of an ablation's table, which ends what is printed, by their first cells; the head's is `given`."""
    lines = [line.split() for line in printed.splitlines()]
    begin = next(number for number, cells in enumerate(lines) if cells[:1] == ["given"])
    return {cells[0]: cells[1:] for cells in lines[begin:]}


def released(folder: Path) -> dict[str, str]:
    """sha256 of every file of weights that the run in `folder` has released."""
    files = read_release(folder / "release")["files"]
    return {name: entry["sha256"] for name, entry in files.items() if name.endswith(".safetensors")}


def as_owner_alone() -> list[str]:
    """A prefix for a command that drops root's capability to write everywhere."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root without setpriv (util-linux) may write everywhere")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
