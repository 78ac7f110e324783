"""A spool read in order, as batches that MLflow accepts. Nothing here contacts a server.

A (key, step) counts once over all attempts of training: MLflow keeps every point and cannot replace one, so the first
point stays and what a resumed run logs again is skipped. After a rollback the run trains on other batches: then the
later steps get a second point, which is the valid one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from talkies.config.places import opened, opened_uri
from talkies.tracking.records import SPOOL, Record, read

MAX_METRICS = 800
MAX_FILES = 8


@dataclass(frozen=True, kw_only=True)
class Point:
    """One metric value; `time` in ms."""

    key: str
    value: float
    time: int
    step: int


@dataclass(frozen=True, kw_only=True)
class File:
    """An artifact: `file` below the outbox, `name` the artifact folder."""

    file: str
    name: str


@dataclass(kw_only=True)
class SpoolBatch:
    """Records up to byte `end`. `params` in order of logging, so that the first value of a key comes first. `status`:
    the last one, with its time in ms."""

    end: int
    metrics: list[Point] = field(default_factory=list)
    params: list[tuple[str, str]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)
    status: tuple[str, int] | None = None


class Journal:
    """Reads a spool once, front to back. `open`: the sessions that have begun and not ended; `status`: of the run now;
    `last_time`: ms of the last record; `bad`: numbers of the lines that are not records (cut by a kill, or edited). The
    counts cover what was read so far."""

    def __init__(self, run_folder: Path) -> None:
        self.path = run_folder / SPOOL
        self.offset = 0
        self.open: dict[str, Record] = {}
        self.status = "RUNNING"
        self.last_time = 0
        self.attempts = self.skipped = self.dropped = self.backs = 0
        self.bad: list[int] = []
        self._counted = (0, 0)
        self._seen: dict[str, set[int]] = {}
        self._flagged: set[str] = set()
        self._verbs: set[str] = set()
        self._take: dict[str, Callable[[Record, SpoolBatch], None]] = {
            "begin": self._begin,
            "params": lambda record, batch: batch.params.extend(record["values"].items()),
            "tags": lambda record, batch: batch.tags.update(record["values"]),
            "metrics": self._metrics,
            "back": self._back,
            "artifact": lambda record, batch: batch.files.append(File(file=record["file"], name=record["name"])),
            "status": self._status,
            "dropped": self._dropped,
            "end": self._end,
        }

    def batch(self, *, until: int | None = None) -> SpoolBatch | None:
        """The next records up to about MAX_METRICS metrics or MAX_FILES files, none beyond byte `until`; None if there
        are none. The same bytes always make the same batch."""
        batch = SpoolBatch(end=self.offset)
        for end, record in read(self.path, self.offset):
            if until is not None and end > until:
                break
            batch.end = end
            if record is None:
                self.bad.append(self._line(end))
                batch.tags["spool.torn"] = str(len(self.bad))
            else:
                self.last_time = record["time"]
                self._take[record["kind"]](record, batch)
            if len(batch.metrics) >= MAX_METRICS or len(batch.files) >= MAX_FILES:
                break
        has_records = batch.end > self.offset
        self.offset = batch.end
        return batch if has_records else None

    def origin(self) -> Record | None:
        """The run's first begin record, with the store and artifacts of the last one; None before there is one."""
        begins = [record for _, record in read(self.path, 0) if record is not None and record["kind"] == "begin"]
        if not begins:
            return None
        folder, last = self.path.parent, begins[-1]
        paths = {"parent": begins[0]["parent"], "artifacts": last["artifacts"]}
        places = {key: None if text is None else str(opened(text, folder)) for key, text in paths.items()}
        return {**begins[0], **places, "store": opened_uri(last["store"], folder)}

    def rest(self) -> bool:
        """Whether there are complete records still to be read."""
        return next(read(self.path, self.offset), None) is not None

    def _line(self, end: int) -> int:
        """The number, from 1, of the line that ends before byte `end`."""
        start, lines = self._counted
        with self.path.open("rb") as handle:
            handle.seek(start)
            lines += handle.read(end - start).count(b"\n")
        self._counted = (end, lines)
        return lines

    def _begin(self, record: Record, batch: SpoolBatch) -> None:
        if not record["training"]:
            self._verbs.add(record["session"])
        else:
            # Only one session trains at a time, so a new one ends the others.
            self.open = {name: begin for name, begin in self.open.items() if name in self._verbs}
            self.attempts += 1
            batch.tags["attempts"] = str(self.attempts)
            self.status = "RUNNING"
            batch.status = (self.status, record["time"])
        self.open[record["session"]] = record

    def _end(self, record: Record, _batch: SpoolBatch) -> None:
        self.open.pop(record["session"], None)

    def _metrics(self, record: Record, batch: SpoolBatch) -> None:
        step, repeats_count = record["step"], record["session"] in self._verbs
        for key, text in record["values"].items():
            steps = self._seen.setdefault(key, set())
            if step in steps and not repeats_count:
                self.skipped += 1
                continue
            steps.add(step)
            value = float(text)
            batch.metrics.append(Point(key=key, value=value, time=record["time"], step=step))
            if not math.isfinite(value) and key not in self._flagged:
                self._flagged.add(key)
                batch.tags[f"nonfinite.{key}"] = f"{value} at step {step}"

    def _back(self, record: Record, batch: SpoolBatch) -> None:
        self.backs += 1
        batch.tags["went_back"] = str(self.backs)
        self._seen = {key: {step for step in steps if step <= record["step"]} for key, steps in self._seen.items()}

    def _status(self, record: Record, batch: SpoolBatch) -> None:
        self.status = record["status"]
        batch.status = (self.status, record["time"])

    def _dropped(self, record: Record, batch: SpoolBatch) -> None:
        self.dropped += record["count"]
        batch.tags["spool.dropped"] = str(self.dropped)
