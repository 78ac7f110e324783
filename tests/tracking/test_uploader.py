"""The uploader with servers that are absent, die, are slow, and come back."""

import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from mlflow_servers import free_port, listening, process, serve_here, silent, wait_for

from talkies.checkpoints.release import read_release
from talkies.config import TrackingError
from talkies.tracking.cards import Shelf
from talkies.tracking.config import TrackingConfig
from talkies.tracking.mlflow_run import read_mlflow_run
from talkies.tracking.records import SPOOL, read
from talkies.tracking.registry import promote, resolve
from talkies.tracking.replay import replay
from talkies.tracking.spool import Tracker, start_uploader
from talkies.tracking.store import open_client
from talkies.tracking.uploader import Follower, follow

SPIN_S = 0.0002
"""About the duration of a call on an idle machine."""
QUICK = ("--poll", "0.2", "--slowest", "0.5")
TRIES = 3


def measured(tracker: Tracker, steps: range, pause: float) -> list[tuple[float, float]]:
    """Seconds of every `metrics` call, and of plain writes beside it that take SPIN_S. Other load on this machine
    affects both."""
    taken = []
    with Path(os.devnull).open("wb", buffering=0) as nothing:
        for step in steps:
            began = time.perf_counter()
            tracker.metrics({f"train/{key}": step + 0.5 for key in "abcdefgh"}, step)
            between = time.perf_counter()
            while time.perf_counter() - between < SPIN_S:
                nothing.write(b"x")
            taken.append((between - began, time.perf_counter() - between))
            time.sleep(pause)
    return taken


def undisturbed(tracker: Tracker, first: int, count: int, pause: float) -> int:
    """Call `metrics` for `count` steps from `first` on; returns the next step. The p99 of the calls must be below 5 ms
    (or twice the machine's own p99) in one of three tries: other programs may delay some, a server would delay all."""
    found = []
    for begin in range(first, first + TRIES * count, count):
        taken = measured(tracker, range(begin, begin + count), pause)
        call, bare = (statistics.quantiles(column, n=100)[98] for column in zip(*taken, strict=True))
        found.append((call, bare))
        if call < max(0.005, 2 * bare):
            return begin + count
    raise AssertionError(found)


def an_outage(
    folder: Path,
    config: TrackingConfig,
    port: int,
    server: Callable[[], AbstractContextManager[str]],
) -> None:
    """A run whose server is absent at first, starts, dies mid-run, and is back after the end."""
    began = time.perf_counter()
    tracker = Tracker(folder, config, name="phase", store=f"http://127.0.0.1:{port}")
    uploader = start_uploader(folder, options=QUICK)
    delay = time.perf_counter() - began
    tracker.status("RUNNING")
    begin = undisturbed(tracker, 0, 400, 0.002)
    with server():
        wait_for(lambda: read_mlflow_run(folder), "the run was made")
        # not judged: the server may share this process's interpreter lock
        measured(tracker, range(begin, begin + 100), 0.005)
    undisturbed(tracker, begin + 100, 300, 0.002)
    (folder / "clip.mp4").write_bytes(b"frames")
    tracker.artifact(folder / "clip.mp4", "samples")
    tracker.status("FINISHED")
    tracker.close()
    with server() as uri:
        assert uploader.wait(200) == 0, (folder / "uploader.log").read_text()
        identity = read_mlflow_run(folder)
        assert identity is not None
        client = open_client(uri)
        wanted = [r for _, r in read(folder / SPOOL, 0) if r is not None and r["kind"] == "metrics"]
        for key in ("train/a", "train/h"):
            history = client.get_metric_history(identity.mlflow_run_id, key)
            had = [(metric.step, metric.timestamp, metric.value) for metric in history]
            assert sorted(had) == [(r["step"], r["time"], r["values"][key]) for r in wanted]
        run = client.get_run(identity.mlflow_run_id)
        assert run.info.status == "FINISHED"
        assert [file.path for file in client.list_artifacts(identity.mlflow_run_id, "samples")] == ["samples/clip.mp4"]
        assert replay(folder).sent == 0
    assert "no server answers" in (folder / "uploader.log").read_text()
    assert delay < 5


def test_a_server_that_dies_and_comes_back(
    tmp_path: Path,
    config: TrackingConfig,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve_here(monkeypatch, tmp_path, store)
    port = free_port()
    an_outage(tmp_path / "run", config, port, lambda: listening(port))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_mlflow_server(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    port = free_port()
    an_outage(tmp_path / "run", config, port, lambda: process(tmp_path, store, port))


def test_a_server_that_never_answers(tmp_path: Path, config: TrackingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    folder = tmp_path / "run"
    with silent() as uri:
        began = time.perf_counter()
        tracker = Tracker(folder, config, name="phase", store=uri)
        stop = threading.Event()
        options = {"parent": None, "poll_s": 0.05, "slowest_s": 0.1, "deadline_s": 200.0}
        thread = threading.Thread(target=lambda: follow([folder], stop=stop, **options))  # type: ignore[arg-type]
        thread.start()
        assert time.perf_counter() - began < 30
        undisturbed(tracker, 0, 300, 0.003)
        stop.set()
        thread.join()
        began = time.perf_counter()
        with pytest.raises(TrackingError, match=r"cannot make a run in experiment 'toy' at http"):
            replay(folder)
        assert time.perf_counter() - began < 40


def test_the_uploader_gives_up_after_its_deadline(tmp_path: Path, config: TrackingConfig) -> None:
    tracker = Tracker(tmp_path / "run", config, name="phase", store=f"http://127.0.0.1:{free_port()}")
    tracker.close()
    began = time.perf_counter()
    done = follow([tmp_path / "run"], parent=None, poll_s=0.05, slowest_s=0.1, deadline_s=0.4, stop=threading.Event())
    assert not done
    assert 0.3 < time.perf_counter() - began < 60


def test_other_processes_may_send_while_the_uploader_pauses(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    folder, gone = tmp_path / "run", tmp_path / "gone" / "mlflow.db"
    Tracker(folder, config, name="phase", store=f"sqlite:///{gone}").close()
    follower = Follower(folder, poll_s=60.0, slowest_s=60.0)
    follower.step()
    assert not follower.idle, "there is no folder: as a server that is down"
    gone.parent.mkdir()
    shutil.copyfile(tmp_path / "mlflow.db", gone)
    assert replay(folder, wait_s=0.0).run_id
    follower.close()


def test_one_uploader_follows_folders_that_come_later(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    folders = [tmp_path / "curriculum", tmp_path / "curriculum" / "1-audio"]
    stop = threading.Event()
    options = {"parent": os.getppid(), "poll_s": 0.05, "slowest_s": 0.2, "deadline_s": 200.0}
    outcome: list[bool] = []
    thread = threading.Thread(target=lambda: outcome.append(follow(folders, stop=stop, **options)))  # type: ignore[arg-type]
    thread.start()
    try:
        child = Tracker(folders[1], config, name="audio", store=store, parent_folder=folders[0])
        child.metrics({"loss": 1.0}, 0)
        child.close()
        Tracker(folders[0], config, name="curriculum", store=store).close()
        thread.join(200)
    finally:
        stop.set()
        thread.join()
    assert outcome == [True]
    reports = [replay(folder) for folder in folders]
    assert [report.sent for report in reports] == [0, 0]
    assert reports[1].metrics == 1


def test_the_uploader_outlives_a_killed_training_and_reports_it(
    tmp_path: Path, config: TrackingConfig, store: str
) -> None:
    folder = tmp_path / "run"
    code = (
        "import os; from pathlib import Path; from talkies.tracking.spool import Tracker;"
        "from talkies.tracking.config import TrackingConfig;"
        f"t = Tracker(Path({str(folder)!r}), TrackingConfig(experiment='toy'), name='phase', store={store!r});"
        "t.start_uploader(); t.status('RUNNING'); t.metrics({'loss': 1.0}, 0); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)

    def ended() -> bool:
        identity = read_mlflow_run(folder)
        return identity is not None and open_client(store).get_run(identity.mlflow_run_id).info.status == "KILLED"

    wait_for(ended, "the run is KILLED")
    assert replay(folder).metrics == 1


def test_a_registry_behind_a_server(
    tmp_path: Path,
    config: TrackingConfig,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    made_run: Callable[..., Path],
) -> None:
    serve_here(monkeypatch, tmp_path, store)
    with listening(free_port()) as uri:
        joint = made_run("joint", store=uri)
        lora = made_run("lora", base=joint / "release", store=uri, seed=1)
        done = promote(lora, lora / "release", config, store=uri, metrics={}, expect=None, shelf=Shelf(folder=tmp_path))
        assert (done.version, done.previous) == ("1", None)
        folder = resolve("models:/toy-model@champion", uri=uri, download_to=tmp_path / "downloads")
        assert read_release(folder) == read_release(lora / "release")
        assert read_release(folder / "base") == read_release(joint / "release")
        served = list((tmp_path / "served").rglob("adapter_model.safetensors"))
        assert len(served) == 1
        served[0].write_bytes(b"other")
        monkeypatch.setattr("mlflow.MlflowClient.log_artifacts", lambda *_, **__: None)  # a store that loses
        with pytest.raises(TrackingError, match=r"gives back sha256 .* for .*adapter_model"):
            promote(lora, lora / "release", config, store=uri, metrics={}, expect=None, shelf=Shelf(folder=tmp_path))
    with pytest.raises(TrackingError, match=r"no server answers at http"):
        resolve("models:/toy-model@champion", uri=uri, download_to=tmp_path / "again")
