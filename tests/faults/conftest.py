"""The prepared data and the undisturbed run that the rows compare with; the MLflow servers of the tracking tests."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "tracking"))

from whole_runs import LONG, WholeRun, prepared, shared_folder, undisturbed


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 clips of voices."""
    return prepared(shared_folder(tmp_path_factory))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> WholeRun:
    """20 steps that nobody disturbs."""
    return undisturbed(shared_folder(tmp_path_factory), data, "whole", {})


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory, data: Path) -> WholeRun:
    """200 steps that nobody disturbs."""
    return undisturbed(shared_folder(tmp_path_factory), data, "long", LONG)
