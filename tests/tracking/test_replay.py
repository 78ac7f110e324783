"""Spools sent to a real MLflow store: once, with their first timestamps, despite failures on the way."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from talkies.config import TrackingError
from talkies.tracking.config import TrackingConfig
from talkies.tracking.journal import MAX_METRICS
from talkies.tracking.mlflow_run import read_mlflow_run
from talkies.tracking.progress import load, sole_sender
from talkies.tracking.records import OUTBOX, SPOOL, read
from talkies.tracking.replay import dead, replay
from talkies.tracking.runs import adopt_run
from talkies.tracking.spool import Tracker
from talkies.tracking.store import open_client


def points(store: str, run_id: str, key: str) -> list[tuple[int, int, float]]:
    """(step, timestamp, value) of every point of a metric in the store."""
    history = open_client(store).get_metric_history(run_id, key)
    return sorted((metric.step, metric.timestamp, metric.value) for metric in history)


def spooled(folder: Path, key: str) -> list[tuple[int, int, float]]:
    records = [record for _, record in read(folder / SPOOL, 0) if record is not None and record["kind"] == "metrics"]
    return [(r["step"], r["time"], float(r["values"][key])) for r in records if key in r["values"]]


def test_a_run_is_sent_once_with_its_first_timestamps(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    folder = tmp_path / "run"
    tracker = Tracker(folder, config, name="phase", store=store, artifact_root=tmp_path / "artifacts")
    tracker.params({"lr": 1e-4})
    tracker.tags({"commit": "abc"})
    for step in range(MAX_METRICS + 5):  # more than one batch
        tracker.metrics({"train/loss": 1 / (step + 1)}, step)
    (tmp_path / "sheet.png").write_bytes(b"png")
    tracker.artifact(tmp_path / "sheet.png", "samples/step-1")
    (tmp_path / "sheet.png").unlink()
    tracker.status("FINISHED")
    tracker.close()

    report = replay(folder)
    assert (report.sent, report.metrics, report.artifacts) == (MAX_METRICS + 5, MAX_METRICS + 5, 1)
    assert points(store, report.run_id, "train/loss") == spooled(folder, "train/loss")
    run = open_client(store).get_run(report.run_id)
    assert (run.data.params, run.data.tags["commit"], run.data.tags["attempts"]) == ({"lr": "0.0001"}, "abc", "1")
    times = [record["time"] for _, record in read(folder / SPOOL, 0) if record]
    assert (run.info.status, run.info.run_name) == ("FINISHED", "phase")
    assert (run.info.start_time, run.info.end_time) == (times[0], times[-2])
    stored = tmp_path / "artifacts" / "toy" / report.run_id / "artifacts" / "samples" / "step-1" / "sheet.png"
    assert stored.read_bytes() == b"png"
    assert list((folder / OUTBOX).iterdir()) == []

    again = replay(folder)
    assert (again.sent, again.metrics, again.run_id) == (0, report.metrics, report.run_id)
    assert points(store, report.run_id, "train/loss") == spooled(folder, "train/loss")
    identity = read_mlflow_run(folder)
    assert identity is not None
    assert (identity.mlflow_run_id, identity.tracking_uri) == (report.run_id, store)


def test_non_finite_numbers_are_kept(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    tracker = Tracker(tmp_path / "run", config, name="phase", store=store)
    tracker.metrics({"loss": float("nan")}, 0)
    tracker.metrics({"loss": float("-inf")}, 1)
    tracker.close()
    report = replay(tmp_path / "run")
    values = [value for _, _, value in points(store, report.run_id, "loss")]
    assert (str(values[0]), values[1]) == ("nan", -sys.float_info.max)  # MLflow's infinity
    assert open_client(store).get_run(report.run_id).data.tags["nonfinite.loss"] == "nan at step 0"


def test_a_resumed_run_is_one_run_on_one_axis(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    folder = tmp_path / "run"
    first = Tracker(folder, config, name="phase", store=store)
    first.params({"nodes": 1})
    first.metrics({"loss": 5.0}, 5)
    first.metrics({"loss": 6.0}, 6)
    first.status("KILLED")
    first.close()
    killed = replay(folder)
    assert open_client(store).get_run(killed.run_id).info.status == "KILLED"

    second = Tracker(folder, config, name="phase", store=store)
    second.params({"nodes": 2, "new": 3})
    second.metrics({"loss": 60.0}, 6)
    second.metrics({"loss": 7.0}, 7)
    resumed = replay(folder)
    assert resumed.run_id == killed.run_id
    assert (resumed.sent, resumed.skipped) == (1, 1)
    assert [(step, value) for step, _, value in points(store, resumed.run_id, "loss")] == [(5, 5.0), (6, 6.0), (7, 7.0)]
    run = open_client(store).get_run(resumed.run_id)
    assert run.info.status == "RUNNING"
    assert (run.data.params, run.data.tags["changed.nodes"]) == ({"nodes": "1", "new": "3"}, "2")
    assert run.data.tags["attempts"] == "2"
    second.status("FINISHED")
    second.close()
    replay(folder)
    assert open_client(store).get_run(resumed.run_id).info.status == "FINISHED"


class _Watched:
    """The real client, which loses the answer to its first batch of metrics, and counts the points sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[Metric] = []
        self.lost = False
        real = MlflowClient.log_batch

        def log_batch(client: MlflowClient, run_id: str, **entries: Any) -> None:
            self.sent += entries.get("metrics", [])
            real(client, run_id, **entries)
            if entries.get("metrics") and not self.lost:
                self.lost = True
                raise ConnectionResetError("the answer was lost")

        monkeypatch.setattr(MlflowClient, "log_batch", log_batch)


def test_a_batch_that_may_have_arrived_is_not_sent_twice(
    tmp_path: Path, config: TrackingConfig, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    tracker = Tracker(folder, config, name="phase", store=store)
    for step in range(10):
        tracker.metrics({"loss": float(step), "bad": float("nan")}, step)
    watched = _Watched(monkeypatch)
    with pytest.raises(TrackingError, match="the answer was lost"):
        replay(folder)
    assert read_mlflow_run(folder) is not None
    tracker.metrics({"loss": 10.0}, 10)
    tracker.close()
    report = replay(folder)
    assert len(watched.sent) == 21  # 20 that arrived, then only the new one
    assert (report.metrics, load(folder, report.run_id).inflight) == (21, None)
    assert points(store, report.run_id, "loss") == spooled(folder, "loss")


def test_a_run_whose_creation_was_interrupted_is_adopted(
    tmp_path: Path, config: TrackingConfig, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    Tracker(folder, config, name="phase", store=store).close()
    real = MlflowClient.create_run

    def lost(client: MlflowClient, *args: Any, **named: Any) -> None:
        real(client, *args, **named)
        raise ConnectionResetError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", lost)
        with pytest.raises(TrackingError, match="cannot make a run in experiment 'toy'"):
            replay(folder)
    report = replay(folder)
    client = open_client(store)
    runs = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
    assert [run.info.run_id for run in runs] == [report.run_id]


def test_a_phase_is_a_child_of_its_curriculum(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    parent, child = tmp_path / "run", tmp_path / "run" / "1-audio"
    Tracker(child, config, name="audio", store=store, parent_folder=parent).close()
    with pytest.raises(TrackingError, match=f"the parent run {parent} has no {SPOOL} yet"):
        replay(child)
    Tracker(parent, config, name="curriculum", store=store).close()
    with sole_sender(parent), pytest.raises(TrackingError, match="is still being made"):
        replay(child, wait_s=0.1)
    report = replay(child)
    identity = read_mlflow_run(parent)
    assert identity is not None
    run = open_client(store).get_run(report.run_id)
    assert run.data.tags["mlflow.parentRunId"] == identity.mlflow_run_id
    assert replay(parent).run_id == identity.mlflow_run_id


def test_a_parent_that_is_being_made_is_waited_for(
    tmp_path: Path, config: TrackingConfig, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a busy machine, where a phase ends before the uploader of its curriculum has made the store."""
    parent, child = tmp_path / "parent", tmp_path / "child"
    Tracker(parent, config, name="curriculum", store=store).close()
    Tracker(child, config, name="phase", store=store, parent_folder=parent).close()
    holds, done = Event(), Event()

    def make() -> None:
        with sole_sender(parent):
            holds.set()
            done.wait(200)
            adopt_run(parent)

    uploader = Thread(target=make)
    uploader.start()
    holds.wait(200)
    Timer(1.0, done.set).start()
    report = replay(child, quiet_s=0.5)
    assert done.is_set()
    uploader.join(200)
    identity = read_mlflow_run(parent)
    assert identity is not None
    run = open_client(store).get_run(report.run_id)
    assert run.data.tags["mlflow.parentRunId"] == identity.mlflow_run_id
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning == f"tracking: waiting for the uploader of {child}, up to 300 s"


def test_only_one_sends(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    Tracker(tmp_path / "run", config, name="phase", store=store).close()
    with sole_sender(tmp_path / "run"), pytest.raises(TrackingError, match=r"an uploader of .* is still sending"):
        replay(tmp_path / "run", wait_s=0.1)
    with pytest.raises(TrackingError, match=r"has no spool\.jsonl"):
        replay(tmp_path / "nothing")


def test_an_entry_that_the_server_refuses_is_left_out_alone(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    folder = tmp_path / "run"
    tracker = Tracker(folder, config, name="phase", store=store)
    tracker.metrics({"good": 1.0, "bad;key$": 2.0}, 0)
    tracker.params({"text": "x" * 7000, "bad;param$": 1})
    tracker.artifact(Path(__file__), "gone")
    tracker.close()
    for file in (folder / OUTBOX).rglob("*.py"):
        file.unlink()
    report = replay(folder)
    assert (report.metrics, report.refused, report.missing, report.artifacts) == (1, 2, 1, 0)
    run = open_client(store).get_run(report.run_id)
    assert run.data.metrics == {"good": 1.0}
    assert run.data.params["text"].endswith("x [cut]")
    assert "2 refused" in str(report)


def died(folder: Path, store: str, last: str = "pass") -> None:
    """An attempt whose process dies without an end record, after running `last`."""
    code = (
        "import json, os, sys, time; from pathlib import Path; from talkies.tracking.spool import Tracker;"
        f"from talkies.tracking.config import TrackingConfig; folder = Path({str(folder)!r});"
        f"t = Tracker(folder, TrackingConfig(experiment='toy'), name='phase', store={store!r});"
        f"t.status('RUNNING'); t.metrics({{'loss': 1.0}}, 0); {last}; os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9


def test_a_run_whose_process_died_is_killed(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    folder = tmp_path / "run"
    died(folder, store)
    report = replay(folder)
    run = open_client(store).get_run(report.run_id)
    assert (run.info.status, run.data.tags["ended.attempt-1"]) == ("KILLED", "the process died without a message")


def test_a_run_that_hung_has_failed_and_says_why(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    """The hang report of an earlier attempt does not count."""
    folder = tmp_path / "run"
    (folder / "hangs").mkdir(parents=True)
    (folder / "hangs" / "20260101T000000.0.json").write_text('{"told": "long ago", "at": 1767225600.0}')
    died(
        folder,
        store,
        "(folder / 'hangs' / '20990101.json').write_text(json.dumps({'told': 'hang: x', 'at': time.time()}))",
    )
    run = open_client(store).get_run(replay(folder).run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["ended.attempt-1"].endswith(" UTC: hang: x")
    died(folder, store, "pass")
    run = open_client(store).get_run(replay(folder).run_id)
    assert (run.info.status, run.data.tags["ended.attempt-2"]) == ("KILLED", "the process died without a message")


def test_only_processes_of_this_machine_can_be_seen_dead() -> None:
    import socket

    assert not dead(socket.gethostname(), os.getpid())
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert dead(socket.gethostname(), child.pid)
    assert not dead("another-machine", child.pid)


def test_a_deleted_run_says_what_to_do(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    folder = tmp_path / "run"
    Tracker(folder, config, name="phase", store=store).close()
    open_client(store).delete_run(replay(folder).run_id)
    with pytest.raises(TrackingError, match=r"was deleted at .*remove .*run\.json"):
        replay(folder)
    (folder / "run.json").unlink()
    client = open_client(store)
    assert client.get_run(replay(folder).run_id).info.lifecycle_stage == "active"


def test_a_damaged_spool_is_refused(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    folder = tmp_path / "run"
    tracker = Tracker(folder, config, name="phase", store=store)
    tracker.metrics({"loss": 1.0}, 0)
    replay(folder)
    with (folder / SPOOL).open("r+b") as handle:
        handle.truncate(20)
    with pytest.raises(TrackingError, match="is shorter than the part that run"):
        replay(folder)


def test_a_store_that_is_gone_is_not_made_again(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    folder = tmp_path / "run"
    Tracker(folder, config, name="phase", store=store).close()
    run_id = replay(folder).run_id
    file = Path(store.removeprefix("sqlite:///"))
    file.unlink()
    with pytest.raises(TrackingError, match=rf"run {run_id} .*there is no store {file}; .*remove .*run\.json"):
        replay(folder)
    assert not file.exists()


def test_a_sqlite_store_in_no_folder_is_refused(tmp_path: Path, config: TrackingConfig) -> None:
    Tracker(tmp_path / "run", config, name="phase", store=f"sqlite:///{tmp_path / 'gone' / 'mlflow.db'}").close()
    with pytest.raises(TrackingError, match=r"there is no folder .*gone; make it"):
        replay(tmp_path / "run")


@pytest.mark.slow  # MLflow waits 20 s for a locked SQLite file
@pytest.mark.fault("23", "tracking database locked", injected="exclusive transaction")
def test_a_locked_store_is_tried_again_later(
    tmp_path: Path,
    config: TrackingConfig,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    record_outcome: Callable[..., None],
) -> None:
    folder = tmp_path / "run"
    tracker = Tracker(folder, config, name="phase", store=store)
    replay(folder)
    tracker.metrics({"loss": 1.0}, 0)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match="database is locked"):
            replay(folder)
        other.rollback()
    report = replay(folder)
    assert points(store, report.run_id, "loss") == spooled(folder, "loss")
    record_outcome("named, sent later")
