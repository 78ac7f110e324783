"""One tiny run of the whole toy curriculum, shared by the tests that inspect its results."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from talkies.checkpoints.release import read_release
from talkies.cli.main import run

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
TINY = [text.removeprefix("phases.") for text in SMALL if text.startswith("phases.")]
"""The same for a single phase."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait for another worker that is making the run."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class ToyRun:
    """The folders of the curriculum's run."""

    runs: Path
    folder: Path

    def phase(self, name: str) -> Path:
        return next(self.folder.glob(f"[0-9]-{name}"))

    @property
    def data(self) -> Path:
        return next((self.runs / "data").iterdir())


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    """Render, prepare, six phases of 4 steps, evaluate, promote, sample; made once for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    runs = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "toy-run"
    with locked(runs):
        if not (runs / "made").exists():
            code = run(["train", str(RECIPES / "curriculum.yaml"), *SMALL, "--runs", str(runs), "--quiet"])
            assert code == 0
            (runs / "made").touch()
    (folder,) = runs.glob("mova-toy-*/0001")
    return ToyRun(runs=runs, folder=folder)


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
