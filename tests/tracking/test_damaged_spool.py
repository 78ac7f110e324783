"""Lines of a spool that are not records are left out, counted, and named by their numbers."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from talkies.config import DataError, TrackingError
from talkies.tracking.config import TrackingConfig
from talkies.tracking.journal import Journal, SpoolBatch
from talkies.tracking.records import LINE, SPOOL
from talkies.tracking.replay import replay
from talkies.tracking.spool import Tracker
from talkies.tracking.store import open_client


def tracker(folder: Path, config: TrackingConfig) -> Tracker:
    return Tracker(folder, config, name="phase", store="sqlite:///x.db")


def drain(journal: Journal) -> list[SpoolBatch]:
    found = []
    while (batch := journal.batch()) is not None:
        found.append(batch)
    return found


DAMAGED: dict[str, dict[str, Any]] = {
    "no time": {"time": None},
    "time in words": {"time": "now"},
    "no session": {"session": None},
    "no step": {"step": None},
    "a step beyond 64 bits": {"step": 2**63},
    "no values": {"values": None},
    "a value that is not a number": {"values": {"loss": "many"}},
    "unknown kind": {"kind": "metric"},
    "kind of no text": {"kind": ["metrics"]},
    "a params line with numbers": {"kind": "params", "values": {"lr": 1}},
    "an artifact outside the outbox": {"kind": "artifact", "file": "../run.json", "name": "x"},
    "a status that MLflow has not": {"kind": "status", "status": "DONE"},
    "half a begin": {"kind": "begin", "run": "x"},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_line_that_is_not_a_record_is_left_out_alone_and_named(
    tmp_path: Path, config: TrackingConfig, name: str
) -> None:
    spool = tracker(tmp_path, config)
    spool.metrics({"loss": 1.0}, 0)
    whole = json.loads((tmp_path / SPOOL).read_text().splitlines()[-1])
    changed = {key: value for key, value in {**whole, **DAMAGED[name]}.items() if value is not None}
    with (tmp_path / SPOOL).open("a") as handle:
        handle.write(json.dumps(changed) + "\n")
    spool.metrics({"loss": 2.0}, 1)
    journal = Journal(tmp_path)
    (batch,) = drain(journal)
    assert [(point.step, point.value) for point in batch.metrics] == [(0, 1.0), (1, 2.0)]
    assert (journal.bad, batch.tags["spool.torn"], batch.files) == ([3], "1", [])
    assert tracker(tmp_path, config).last == {"loss": 2.0}


def test_the_numbers_of_bad_lines_are_those_of_the_file(tmp_path: Path, config: TrackingConfig) -> None:
    spool = tracker(tmp_path, config)
    for step in range(6):
        spool.metrics({"loss": 1.0}, step)
    lines = (tmp_path / SPOOL).read_text().splitlines()
    bad = [2, 3, 7]  # from 1; the first is the begin
    for number in bad:
        lines[number - 1] = lines[number - 1].replace('"time"', '"when"')
    (tmp_path / SPOOL).write_text("\n".join(lines) + "\n")
    journal = Journal(tmp_path)
    drain(journal)
    assert journal.bad == bad


def test_damaged_lines_are_left_out_and_named(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    folder = tmp_path / "run"
    tracker = Tracker(folder, config, name="phase", store=store)
    tracker.metrics({"loss": 1.0}, 0)
    with (folder / SPOOL).open("a") as handle:
        handle.write('{"kind":"metrics","session":"x","step":1,"values":{"loss":2.0}}\n{}\n')
    tracker.metrics({"loss": 3.0}, 2)
    tracker.close()
    for sent in (2, 0):
        report = replay(folder)
        assert (report.sent, report.bad) == (sent, (3, 4))
        assert "2 torn or damaged in spool.jsonl (line 3, 4) left out" in str(report)
    history = open_client(store).get_metric_history(report.run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(0, 1.0), (2, 3.0)]
    assert open_client(store).get_run(report.run_id).data.tags["spool.torn"] == "2"


def test_a_spool_whose_begin_is_damaged_is_no_run(tmp_path: Path, config: TrackingConfig, store: str) -> None:
    folder = tmp_path / "run"
    Tracker(folder, config, name="phase", store=store).close()
    lines = (folder / SPOOL).read_text().splitlines()
    (folder / SPOOL).write_text("\n".join([lines[0].replace('"experiment"', '"experimental"'), *lines[1:]]) + "\n")
    with pytest.raises(TrackingError, match=r"spool\.jsonl holds no run yet"):
        replay(folder)


def test_a_line_too_long_for_a_record_is_not_kept_in_memory(tmp_path: Path, config: TrackingConfig) -> None:
    spool = tracker(tmp_path, config)
    with (tmp_path / SPOOL).open("ab") as file:
        file.truncate(file.tell() + 3 * LINE)  # a hole, which takes no disk space
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    spool.metrics({"loss": 1.0}, 0)
    journal = Journal(tmp_path)
    assert [point.value for batch in drain(journal) for point in batch.metrics] == [1.0]
    assert journal.bad == [2]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", [SPOOL, ".uploader.lock", "progress.json", "run.json"])
def test_a_pipe_among_the_files_of_a_run_is_refused_without_waiting(
    tmp_path: Path, config: TrackingConfig, name: str
) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    Tracker(tmp_path, config, name="phase", store=store, artifact_root=tmp_path / "artifacts").close()
    replay(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=rf"{re.escape(name)}: it is a named pipe, not a regular file; "):
        replay(tmp_path)


def test_a_progress_that_ends_inside_a_record_is_named(tmp_path: Path, config: TrackingConfig) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    Tracker(tmp_path, config, name="phase", store=store, artifact_root=tmp_path / "artifacts").close()
    replay(tmp_path)
    known = json.loads((tmp_path / "progress.json").read_text())
    changed = {**known, "offset": 0, "inflight": known["offset"] - 1}
    (tmp_path / "progress.json").write_text(json.dumps(changed))
    with pytest.raises(DataError, match=r"progress\.json is damaged: no records of spool\.jsonl end at its `inflight`"):
        replay(tmp_path)
