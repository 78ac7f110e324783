"""One tiny run of Mirage's whole toy curriculum, shared by the tests that inspect its results."""

import os
from pathlib import Path

import pytest
from toy_run import SMALL, ToyRun, locked

from talkies.cli.main import run

MIRAGE = Path(__file__).parents[2] / "recipes" / "mirage" / "toy"
FEW = [
    "prepare.sources.speakers.clips=20",
    "prepare.sources.speakers.heldout=8",
    "prepare.fit_clips=8",
    *(text for text in SMALL if text.startswith("phases.")),
    "reference.tracking.gates=[{metric: evaluation/sync_reference, op: '>=', value: 0.9}]",
]


@pytest.fixture(scope="session")
def mirage_run(tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    """Render speakers, prepare, four phases of 4 steps, evaluate, promote, sample; made once for all workers."""
    base = tmp_path_factory.getbasetemp()
    runs = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "mirage-run"
    with locked(runs):
        if not (runs / "made").exists():
            assert run(["train", str(MIRAGE / "curriculum.yaml"), *FEW, "--runs", str(runs), "--quiet"]) == 0
            (runs / "made").touch()
    (folder,) = runs.glob("mirage-toy-*/0001")
    return ToyRun(runs=runs, folder=folder)
