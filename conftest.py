"""Shared by all tests: markers, thread count, random numbers, and no network."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two xdist workers share two cores


SCHEDULE = os.sched_getscheduler(0)
STAGES = ("slow", "ranks", "slurm", "faults")
"""Stages with a command of their own: docs/contributing.md."""


def _restore_signal_handlers() -> None:
    """Restore handlers of signals that tests send but pytest's parent may ignore (nohup, a background job)."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_configure(config: pytest.Config) -> None:
    _restore_signal_handlers()
    config.addinivalue_line("markers", "gpu: needs a CUDA device; skipped if there is none")
    config.addinivalue_line("markers", "ranks: training on several processes; runs only with `-m ranks`")
    config.addinivalue_line("markers", "slurm: jobs of a throw-away Slurm cluster; runs only with `-m slurm`")
    config.addinivalue_line("markers", "faults: runs that are broken on purpose; runs only with `-m faults`")
    config.addinivalue_line(
        "markers", "fault(number, name, injected): a row of the table of faults (benchmarks/faults.py), in any stage"
    )
    # Lightning warns on every machine with Slurm that srun is not used.
    config.addinivalue_line("filterwarnings", "ignore:The `srun` command is available")
    config.addinivalue_line("markers", "slow: minutes long; runs only with `-m slow`")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault", help="only the tests of these rows of the table of faults: 1,4,s3")


ABORTED = Path(__file__).parent / "aborted_ranks.txt"
"""What ranks said before a library aborted them (tests/parallel/ranks.py)."""
HUNG = Path(__file__).parent / "hung_ranks.txt"
"""The stacks of processes that hung in a test of ranks."""
HUNG_SHARE = 0.45
"""The share of its time after which such a test counts as hanging. The rest is for its repetition."""
SPY_S = 30.0
"""How long py-spy may take for the stacks of one process."""
REPORTS = {
    ABORTED: "ranks that a library aborted, and that were started again",
    HUNG: "ranks that hung in a test, which was repeated once",
}


class HungError(Exception):
    """Processes of a test hung, and were ended."""


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        for path in REPORTS:
            path.unlink(missing_ok=True)


def pytest_sessionfinish() -> None:
    """End the uploaders that this process has started: they outlive their runs, and Python would warn of them."""
    spool = sys.modules.get("talkies.tracking.spool")
    for process in () if spool is None else spool._detached:
        process.terminate()
        process.wait()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for path, title in REPORTS.items():
        if path.exists():
            terminalreporter.section(title)
            terminalreporter.write_line(path.read_text(errors="replace"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test whose ranks hang (seen once in CI, and in none of 60 equal runs elsewhere) reports their stacks, and is
    repeated once."""
    if item.get_closest_marker("ranks") is None:
        return (yield)
    hung: list[psutil.Process] = []
    before = set(psutil.Process().children(recursive=True))
    timer = threading.Timer(HUNG_SHARE * _limit_s(item), _end_hung, [item.nodeid, before, hung])
    timer.daemon = True
    timer.start()
    try:
        return (yield)
    finally:
        timer.cancel()
        if hung:
            raise HungError(f"{len(hung)} processes hung; pytest's summary shows their stacks")


def _limit_s(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0] if mark else item.config.getini("timeout"))


def _end_hung(test: str, before: set[psutil.Process], hung: list[psutil.Process]) -> None:
    """Thread: add the stacks of all processes that a test has started to the report (or its own, if there are none),
    and end them."""
    worker = psutil.Process()
    started = set(worker.children(recursive=True)) - before
    spy = Path(sys.executable).with_name("py-spy")
    for process in started or {worker}:
        command = [str(spy), "dump", "--native", "--pid", str(process.pid)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SPY_S, check=False)
            told = f"{done.stdout}{done.stderr}"
        except (OSError, subprocess.TimeoutExpired) as error:  # the processes must end all the same
            told = f"{process}: {error}"
        with HUNG.open("a") as file:
            file.write(f"{test}:\n{told}\n")
    hung += started
    for process in started:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _label(items: list[pytest.Item]) -> None:
    """Attach the rows and the stage of every test to its reports: xdist's workers send nothing else."""
    for item in items:
        stage = next((stage for stage in STAGES if item.get_closest_marker(stage)), "default")
        for mark in item.iter_markers("fault"):
            row = {"number": mark.args[0], "name": mark.args[1], "injected": mark.kwargs["injected"], "stage": stage}
            item.user_properties.append(("row", row))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _label(items)
    rows = config.getoption("--fault")
    if rows is not None:
        wanted = set(rows.split(","))
        others = [item for item in items if not wanted & {mark.args[0] for mark in item.iter_markers("fault")}]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]
    chosen = config.getoption("-m") or ""
    later = [item for item in items if any(item.get_closest_marker(s) and s not in chosen for s in STAGES)]
    config.hook.pytest_deselected(items=later)
    items[:] = [item for item in items if item not in set(later)]
    for item in items:
        if item.get_closest_marker("ranks"):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=HungError.__name__))
        if "gpu" in item.keywords:
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test draws the same random numbers, whichever tests its worker ran before."""
    if "torch" in sys.modules:  # a test without it should not wait for its import
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _ordinary() -> Iterator[None]:
    """No test may leave its worker a real-time process, as an encoder does: it would starve all others."""
    yield
    assert os.sched_getscheduler(0) == SCHEDULE


@pytest.fixture
def record_outcome(request: pytest.FixtureRequest) -> Callable[..., None]:
    """record_outcome(outcome, steps_lost=..., back_s=...): reports the outcome of a fault to the table of faults."""

    def report(outcome: str, *, steps_lost: int | None = None, back_s: float | None = None) -> None:
        values = {"outcome": outcome, "steps_lost": steps_lost, "back_s": back_s}
        request.node.user_properties.append(("fault", values))

    return report


@pytest.fixture
def file_system(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """file_system(options): a folder with its own tmpfs, mounted with `options`."""
    folders: list[Path] = []

    def mounted(options: str) -> Path:
        folder = tmp_path / f"disk{len(folders)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "talkies", str(folder)]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        if result.returncode:
            pytest.skip(f"no file system can be mounted here: {result.stderr.strip()}")
        folders.append(folder)
        return folder

    yield mounted
    for folder in folders:
        subprocess.run(["umount", str(folder)], check=True)
