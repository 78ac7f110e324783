"""Training without its tracking server or database: no slower, exit 0, and every metric arrives once, later."""

import contextlib
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow_servers import free_port, listening, serve_here
from same_run import check_same, slow_steps
from toy_run import as_owner_alone
from training_runs import LONG, Attempt, TrainingRun

from talkies.tracking.mlflow_run import read_mlflow_run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
RecordOutcome = Callable[..., None]
START_S = 40.0
"""On a busy machine; on an idle one it is less than a second. Waiting for a server would take minutes."""
HICCUP_S = 1.0
"""What a busy machine may add to the slowest steps of 20 ms; waiting for a server or a lock would add seconds."""


@pytest.fixture
def broken(tmp_path: Path, data: Path, long: TrainingRun) -> TrainingRun:
    """A run with a database that MLflow has already made."""
    made = TrainingRun(runs=tmp_path / "runs", data=data, words=dict(LONG))
    made.runs.mkdir()
    shutil.copyfile(long.runs / "mlflow.db", made.runs / "mlflow.db")
    return made


def check_unhurt(attempt: Attempt, long: TrainingRun) -> str:
    """Require exit 0, and a start and steps as fast as without a fault; returns what was measured."""
    assert attempt.code == 0, attempt.err
    delay = attempt.back_s - float((long.runs / "back_s").read_text())
    assert delay < START_S
    found, usual = slow_steps(attempt.made), slow_steps(long.lines())
    assert found < max(2 * usual, usual + HICCUP_S), (found, usual)
    return f"start {max(0.0, delay):.1f} s later, p99 of a step {found / usual:.2f} x"


@pytest.mark.fault(
    "22",
    "tracking server down at start, mid-run, returns",
    injected="no server until step 60, then one until it has the run, none to the end, and one afterwards",
)
def test_a_server_that_comes_and_goes(
    broken: TrainingRun, long: TrainingRun, monkeypatch: pytest.MonkeyPatch, record_outcome: RecordOutcome
) -> None:
    serve_here(monkeypatch, broken.runs, f"sqlite:///{broken.runs / 'mlflow.db'}")
    port = free_port()
    broken.words["tracking.uri"], broken.pace = f"http://127.0.0.1:{port}", 0.3

    def come_and_go(process: "subprocess.Popen[str]") -> None:
        """The uploader tries again after 2, 4, 8, 16 seconds."""
        wait_until(process, lambda: broken.lines()[-1:] and broken.lines()[-1]["step"] >= 60)
        assert read_mlflow_run(broken.folder) is None
        with listening(port):
            wait_until(process, lambda: read_mlflow_run(broken.folder))

    measured = check_unhurt(broken.attempt(meanwhile=come_and_go), long)
    with listening(port):
        assert check_same(broken, long) == []
    record_outcome(f"exit 0, {measured}; every metric once", steps_lost=0)


def wait_until(process: "subprocess.Popen[str]", true: Callable[[], object]) -> None:
    """Wait until `true()`, while the process trains."""
    while not true():
        assert process.poll() is None
        time.sleep(0.05)


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Lock the database by a transaction."""
    with contextlib.closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.rollback()


@contextlib.contextmanager
def read_only(database: Path) -> Iterator[None]:
    """Make the database read-only."""
    database.chmod(0o444)
    yield
    database.chmod(0o644)


@contextlib.contextmanager
def no_file(database: Path) -> Iterator[None]:
    """Put a folder in its place."""
    database.unlink()
    database.mkdir()
    yield
    database.rmdir()


@pytest.mark.fault("23", "tracking database locked or read-only", injected="exclusive transaction; chmod 444; a folder")
@pytest.mark.parametrize("broke", [locked, read_only, no_file])
def test_an_unusable_database(
    broken: TrainingRun,
    long: TrainingRun,
    record_outcome: RecordOutcome,
    broke: Callable[[Path], contextlib.AbstractContextManager[None]],
) -> None:
    under = as_owner_alone()
    with broke(broken.runs / "mlflow.db"):
        attempt = broken.attempt(under=under)
        assert read_mlflow_run(broken.folder) is None, "nothing could be sent"
    measured = check_unhurt(attempt, long)
    assert f"talkies replay {broken.folder}" in attempt.out, "it says how to send the rest"
    assert check_same(broken, long) == []
    record_outcome(f"{broke.__name__}: exit 0, {measured}; every metric once", steps_lost=0)
