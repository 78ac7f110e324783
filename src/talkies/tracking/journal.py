"""What a spool means: its records in order, as batches that MLflow can take. Knows no server.

A (key, step) counts once over all attempts of training: MLflow keeps every point that it is given and cannot replace
one, so what a resumed run logs again is skipped and the first point stays. Where a run has gone back from a bad step it
trains on other batches: there the later steps have a second point, the true one.
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
    """Records up to byte `end`. `params` in order of logging, the first of a key first. `status`: the last, with ms."""

    end: int
    metrics: list[Point] = field(default_factory=list)
    params: list[tuple[str, str]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)
    status: tuple[str, int] | None = None


class Journal:
    """Reads a spool once, front to back. `open`: the sessions that have begun and not ended; `status`: of the run
    now; `last_time`: ms of the last record; `bad`: numbers of the lines that are no records (a kill cut them, or
    somebody changed them); the counts are of what was read so far."""

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
        found = batch.end > self.offset
        self.offset = batch.end
        return batch if found else None

    def origin(self) -> Record | None:
        """What the run is: its first begin record, with the store that the last one names; None before there is one."""
        begins = [record for _, record in read(self.path, 0) if record is not None and record["kind"] == "begin"]
        if not begins:
            return None
        folder, last = self.path.parent, begins[-1]
        paths = {"parent": begins[0]["parent"], "artifacts": last["artifacts"]}
        places = {key: None if text is None else str(opened(text, folder)) for key, text in paths.items()}
        return {**begins[0], **places, "store": opened_uri(last["store"], folder)}

    def rest(self) -> bool:
        """Whether complete records wait to be read."""
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
            self.open = {
                name: begin for name, begin in self.open.items() if name in self._verbs
            }  # one trains at a time
            self.attempts += 1
            batch.tags["attempts"] = str(self.attempts)
            self.status = "RUNNING"
            batch.status = (self.status, record["time"])
        self.open[record["session"]] = record

    def _end(self, record: Record, _batch: SpoolBatch) -> None:
        self.open.pop(record["session"], None)

    def _metrics(self, record: Record, batch: SpoolBatch) -> None:
        step, again = record["step"], record["session"] in self._verbs
        for key, text in record["values"].items():
            steps = self._seen.setdefault(key, set())
            if step in steps and not again:
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
