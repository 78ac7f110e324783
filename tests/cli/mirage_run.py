"""Tiny runs of the whole toy curricula of Mirage video and Mirage audio, shared by the tests that inspect them."""

from pathlib import Path

import pytest
from toy_run import PHASES, ToyRun, curriculum_run

RECIPES = Path(__file__).parents[2] / "recipes"
MIRAGE, VOICES = RECIPES / "mirage" / "toy", RECIPES / "mirage_audio" / "toy"
FEW = [
    "prepare.sources.speakers.clips=20",
    "prepare.sources.speakers.heldout=8",
    "prepare.fit_clips=8",
    *PHASES,
    "reference.tracking.gates=[{metric: evaluation/sync_reference, op: '>=', value: 0.9}]",
]
FEW_VOICES = [
    *(f"prepare.sources.{source}.clips=20" for source in ("sounds", "speakers")),
    *(f"prepare.sources.{source}.heldout=8" for source in ("sounds", "speakers")),
    "prepare.fit_clips=8",
    *PHASES,
    "cloning.tracking.gates=[{metric: evaluation/script_reference, op: '>=', value: 0.95}]",
]


@pytest.fixture(scope="session")
def mirage_run(tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    """Render speakers, prepare, four phases of 4 steps, evaluate, promote, sample."""
    return curriculum_run(tmp_path_factory, MIRAGE, FEW)


@pytest.fixture(scope="session")
def voices_run(tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    """Render scripts that speakers say, prepare, three phases of 4 steps, evaluate, promote, sample."""
    return curriculum_run(tmp_path_factory, VOICES, FEW_VOICES)
