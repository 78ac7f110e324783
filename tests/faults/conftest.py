"""The prepared data, the undisturbed runs that rows compare with, and commands that must be refused.

The MLflow servers of the tracking tests, and what the command line's tests share, can be imported."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "tracking"))
sys.path.append(str(Path(__file__).parents[1] / "cli"))

from training_runs import LONG, TrainingRun, prepared, shared_folder, undisturbed

from talkies.cli.main import run


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 clips of voices."""
    return prepared(shared_folder(tmp_path_factory))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> TrainingRun:
    """An undisturbed run of 20 steps."""
    return undisturbed(shared_folder(tmp_path_factory), data, "whole", {})


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory, data: Path) -> TrainingRun:
    """An undisturbed run of 200 steps."""
    return undisturbed(shared_folder(tmp_path_factory), data, "long", LONG)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that exists if hostile code has run."""
    return tmp_path / "marker"


@pytest.fixture
def refused(marker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must be refused with a message and without effect; returns its output."""

    def check(*words: str, codes: tuple[int, ...] = (2,)) -> str:
        code = run([*words] if words[0] in ("show", "plan") else [*words, "--runs", str(tmp_path / "runs")])
        printed = capsys.readouterr()
        assert code in codes, printed.err
        assert printed.err.startswith("talkies: ")
        assert "internal error" not in printed.err
        assert "Traceback" not in printed.err
        assert not marker.exists()
        assert not [*tmp_path.rglob("result.json")]
        return printed.err + printed.out

    return check
