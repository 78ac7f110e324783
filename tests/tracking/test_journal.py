"""Reading a spool into batches, without a server."""

from pathlib import Path
from typing import Any

from talkies.tracking.config import TrackingConfig
from talkies.tracking.journal import MAX_METRICS, Journal, SpoolBatch
from talkies.tracking.records import SPOOL
from talkies.tracking.spool import Tracker


def tracker(folder: Path, config: TrackingConfig, **more: Any) -> Tracker:
    return Tracker(folder, config, name="phase", store="sqlite:///x.db", **more)


def drain(journal: Journal) -> list[SpoolBatch]:
    found = []
    while (batch := journal.batch()) is not None:
        found.append(batch)
    return found


def test_a_step_counts_once_over_all_attempts(tmp_path: Path, config: TrackingConfig) -> None:
    first = tracker(tmp_path, config)
    for step in range(8):  # killed at 7; the checkpoint was of 4
        first.metrics({"loss": 100 + step, "rate": 1.0}, step)
    second = tracker(tmp_path, config)
    for step in range(5, 10):
        second.metrics({"loss": 200 + step}, step)
    second.close()
    journal = Journal(tmp_path)
    points = [point for batch in drain(journal) for point in batch.metrics if point.key == "loss"]
    assert [point.step for point in points] == list(range(10))
    assert [point.value for point in points] == [*range(100, 108), 208, 209]
    assert (journal.skipped, journal.attempts) == (3, 2)
    assert not journal.open  # the first attempt has no end record, but the second replaced it


def test_a_verb_may_measure_again_and_does_not_count_as_an_attempt(tmp_path: Path, config: TrackingConfig) -> None:
    training = tracker(tmp_path, config)
    training.metrics({"evaluation/sync": 0.1}, 5)
    verb = tracker(tmp_path, config, training=False)
    verb.metrics({"evaluation/sync": 0.2}, 5)
    verb.close()
    journal = Journal(tmp_path)
    (batch,) = drain(journal)
    assert [point.value for point in batch.metrics] == [0.1, 0.2]
    assert batch.tags["attempts"] == "1"
    assert len(journal.open) == 1  # training continues


def test_the_same_bytes_make_the_same_batches(tmp_path: Path, config: TrackingConfig) -> None:
    spool = tracker(tmp_path, config)
    for step in range(MAX_METRICS):
        spool.metrics({"a": 1.0, "b": 2.0}, step)
    ends = [batch.end for batch in drain(Journal(tmp_path))]
    assert len(ends) == 2
    again = Journal(tmp_path)
    for end in ends:
        batch = again.batch(until=end)
        assert batch is not None
        assert batch.end == end
    assert again.offset == (tmp_path / SPOOL).stat().st_size


def test_a_metric_that_is_not_finite_is_flagged_once(tmp_path: Path, config: TrackingConfig) -> None:
    spool = tracker(tmp_path, config)
    spool.metrics({"loss": float("nan")}, 3)
    spool.metrics({"loss": float("inf")}, 4)
    (batch,) = drain(Journal(tmp_path))
    assert batch.tags["nonfinite.loss"] == "nan at step 3"
    assert [str(point.value) for point in batch.metrics] == ["nan", "inf"]


def test_dropped_records_become_tags(tmp_path: Path, config: TrackingConfig) -> None:
    spool = tracker(tmp_path, config)
    spool.artifact(tmp_path / "nowhere", "x")
    with (tmp_path / SPOOL).open("ab") as handle:
        handle.write(b'{"kind": "metr\n')
    spool.metrics({"loss": 1.0}, 0)
    (batch,) = drain(Journal(tmp_path))
    assert (batch.tags["spool.dropped"], batch.tags["spool.torn"]) == ("1", "1")


def test_the_origin_is_the_first_begin_with_the_last_store(tmp_path: Path, config: TrackingConfig) -> None:
    first = tracker(tmp_path, config, parent_folder=tmp_path / "parent")
    first.close()
    Tracker(tmp_path, config, name="phase", store="http://new").close()
    origin = Journal(tmp_path).origin()
    assert origin is not None
    assert (origin["store"], origin["parent"]) == ("http://new", str(tmp_path / "parent"))
    assert Journal(tmp_path / "elsewhere").origin() is None
