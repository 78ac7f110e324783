"""The spool is fast, never fails training, and counts what it lost."""

import json
import logging
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from talkies.config import RecipeError
from talkies.tracking.config import TrackingConfig
from talkies.tracking.mlflow_run import MlflowRun, write_mlflow_run
from talkies.tracking.records import OUTBOX, SPOOL, read
from talkies.tracking.spool import MAX_ARTIFACT, Tracker

STORE = "http://127.0.0.1:9"


def tracker(folder: Path, config: TrackingConfig, **more: Any) -> Tracker:
    return Tracker(folder, config, name="phase", store=STORE, **more)


def records(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    found = [record for _, record in read(folder / SPOOL, 0) if record is not None]
    return [record for record in found if kind in (None, record["kind"])]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_texts_are_one_line_without_credentials(tmp_path: Path, config: TrackingConfig) -> None:
    log = tracker(tmp_path, config)
    odd = {"a": "x\n# y\u2028\x1b[2J\u202e", "b": "https://user:sesame@host/x", "c": "runs/caf\u00e9 1"}
    log.params(odd)
    log.tags(odd)
    log.close()
    for kind in ("params", "tags"):
        (record,) = records(tmp_path, kind)
        assert record["values"] == {
            "a": "x\\n# y\\u2028\\x1b[2J\\u202e", "b": "https://***@host/x", "c": "runs/caf\u00e9 1"
        }  # fmt: skip


def test_the_spool_loads_neither_mlflow_nor_torch() -> None:
    code = (
        "import sys, talkies.tracking.spool; print([m for m in ('mlflow', 'torch', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_kind_is_recorded_with_its_time(tmp_path: Path, config: TrackingConfig) -> None:
    log = tracker(tmp_path, config, artifact_root=tmp_path / "artifacts", parent_folder=tmp_path / "parent")
    log.params({"lr": 1e-4, "bridge": True})
    log.tags({"commit": "abc"})
    log.metrics({"train/loss": torch.tensor(0.5)}, 3)  # type: ignore[dict-item]
    log.status("FINISHED")
    assert log.close() is False  # no uploader was started, so nothing was sent
    kinds = [record["kind"] for record in records(tmp_path)]
    assert kinds == ["begin", "params", "tags", "metrics", "status", "end"]
    begin, params, _, metrics, _, _ = records(tmp_path)
    assert begin["parent"] == str(tmp_path / "parent")
    assert params["values"] == {"lr": "0.0001", "bridge": "True"}
    assert (metrics["step"], metrics["values"]) == (3, {"train/loss": 0.5})
    times = [record["time"] for record in records(tmp_path)]
    assert times == sorted(times)
    assert times[0] > 1_700_000_000_000  # milliseconds


def test_non_finite_numbers_are_valid_json(tmp_path: Path, config: TrackingConfig) -> None:
    log = tracker(tmp_path, config)
    log.metrics({"a": float("nan"), "b": float("inf"), "c": -float("inf")}, 0)

    def refuse(text: str) -> float:
        raise AssertionError(f"{text} is not JSON")

    lines = (tmp_path / SPOOL).read_text().splitlines()
    values = json.loads(lines[-1], parse_constant=refuse)["values"]
    assert [str(float(value)) for value in values.values()] == ["nan", "inf", "-inf"]


def test_a_full_disk_drops_with_one_warning_and_counts(
    tmp_path: Path, config: TrackingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    log = tracker(tmp_path, config)
    log.metrics({"loss": 1.0}, 0)
    with disk_of((tmp_path / SPOOL).stat().st_size + 40):  # space for a part of one record
        for step in range(1, 6):
            log.metrics({"loss": 1.0}, step)
    log.metrics({"loss": 1.0}, 6)
    assert log.dropped == 5
    assert [record["count"] for record in records(tmp_path, "dropped")] == [5]
    assert [record["step"] for record in records(tmp_path, "metrics")] == [0, 6]
    assert len([entry for entry in caplog.records if entry.levelno == logging.WARNING]) == 1
    assert log.last == {"loss": 1.0}


def test_a_run_that_begins_on_a_full_disk_is_still_described(tmp_path: Path, config: TrackingConfig) -> None:
    tmp_path.joinpath(SPOOL).touch()
    with disk_of(0):
        log = tracker(tmp_path, config)
        log.metrics({"loss": 1.0}, 0)
    log.metrics({"loss": 2.0}, 1)
    assert [record["kind"] for record in records(tmp_path)] == ["begin", "dropped", "metrics"]


def test_a_value_that_is_not_a_number_is_dropped_and_does_not_raise(tmp_path: Path, config: TrackingConfig) -> None:
    log = tracker(tmp_path, config)
    log.metrics({"loss": torch.zeros(2)}, 0)  # type: ignore[dict-item]
    log.metrics({"loss": 1.0}, 1)
    assert log.dropped == 1
    assert [record["step"] for record in records(tmp_path, "metrics")] == [1]


def test_a_line_cut_by_a_kill_is_left_out_alone(tmp_path: Path, config: TrackingConfig) -> None:
    tracker(tmp_path, config).metrics({"loss": 1.0}, 0)
    spool = tmp_path / SPOOL
    with spool.open("ab") as handle:
        handle.write(b'{"kind":"metrics","ti')
    assert [record for _, record in read(spool, 0) if record is None] == []  # perhaps still being written
    again = tracker(tmp_path, config)
    again.metrics({"loss": 3.0}, 1)
    assert [record for _, record in read(spool, 0) if record is None] == [None]
    assert [record["step"] for record in records(tmp_path, "metrics")] == [0, 1]


def test_a_resumed_tracker_knows_the_last_values(tmp_path: Path, config: TrackingConfig) -> None:
    first = tracker(tmp_path, config)
    first.metrics({"heldout/video": 0.5, "train/loss": 1.0}, 10)
    first.metrics({"train/loss": 0.75}, 20)
    assert tracker(tmp_path, config).last == {"heldout/video": 0.5, "train/loss": 0.75}


def test_an_artifact_is_kept_as_it_was(tmp_path: Path, config: TrackingConfig) -> None:
    log = tracker(tmp_path / "run", config)
    path = tmp_path / "manifest.json"
    path.write_text("step 1")
    log.artifact(path, "checkpoints/step-1")
    path.unlink()
    path.write_text("step 2")
    (record,) = records(tmp_path / "run", "artifact")
    kept = tmp_path / "run" / OUTBOX / record["file"]
    assert (kept.name, kept.read_text(), record["name"]) == ("manifest.json", "step 1", "checkpoints/step-1")


def test_artifacts_that_are_missing_or_huge_are_refused(
    tmp_path: Path, config: TrackingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    log = tracker(tmp_path, config)
    huge = tmp_path / "weights"
    with huge.open("wb") as handle:
        handle.truncate(MAX_ARTIFACT + 1)  # sparse
    log.artifact(huge, "weights")
    log.artifact(tmp_path / "nowhere.mp4", "samples")
    assert log.dropped == 2
    assert records(tmp_path, "artifact") == []
    assert "log its manifest instead" in caplog.text


def test_a_run_stays_in_its_store(tmp_path: Path, config: TrackingConfig) -> None:
    write_mlflow_run(
        tmp_path, MlflowRun(mlflow_run_id="1", experiment="toy", tracking_uri="http://old:5000", created=0)
    )
    with pytest.raises(RecipeError, match=r"is tracked at http://old:5000, not at http://127.0.0.1:9.*run\.json"):
        tracker(tmp_path, config)
