"""Sending one batch of a spool to MLflow."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from talkies.config.quoting import one_line
from talkies.tracking.journal import Point, SpoolBatch
from talkies.tracking.store import cut, refused, translated

LIMITS = {"metrics": 800, "params": 100, "tags": 100}  # entries of one call
MAX_PARAM = 6000  # characters
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SendResult:
    """The result of sending a batch. `metrics`: how many of it the server has, from this call or an interrupted one."""

    metrics: int
    artifacts: int
    missing: int
    refused: int


class Sender:
    """Sends batches to one run. Raises TrackingError if the server does not answer; then send the batch again with
    `unknown=True`."""

    def __init__(self, client: MlflowClient, run_id: str, outbox: Path) -> None:
        self.client, self.run_id, self.outbox = client, run_id, outbox
        with translated(f"cannot read run {run_id}"):
            self._params: dict[str, str] = dict(client.get_run(run_id).data.params)

    def send(self, batch: SpoolBatch, *, unknown: bool) -> SendResult:
        """Send `batch`. `unknown`: an earlier try may have reached the server, so its history is read first."""
        with translated(f"cannot log to run {self.run_id}"):
            points = self._new(batch.metrics) if unknown else batch.metrics
            known = len(batch.metrics) - len(points)
            params, changed = self._fresh(batch.params)
            tags = {**batch.tags, **changed}
            bad = self._log("metrics", [Metric(point.key, point.value, point.time, point.step) for point in points])
            others = self._log("params", params)
            others += self._log("tags", [RunTag(key, cut(value)) for key, value in tags.items()])
            sent = [self._upload(file.file, file.name) for file in batch.files]
            if batch.status is not None:
                self.status(*batch.status)
        return SendResult(
            metrics=known + len(points) - bad,
            artifacts=sum(sent),
            missing=len(sent) - sum(sent),
            refused=bad + others,
        )

    def status(self, status: str, time: int) -> None:
        """Set the run's status; a final one ends the run at `time` ms."""
        with translated(f"cannot set the status of run {self.run_id}"):
            if status == "RUNNING":
                self.client.update_run(self.run_id, status=status)
            else:
                self.client.set_terminated(self.run_id, status=status, end_time=time)

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags now."""
        with translated(f"cannot tag run {self.run_id}"):
            self.client.log_batch(self.run_id, tags=[RunTag(key, cut(one_line(value))) for key, value in tags.items()])

    def clear(self, batch: SpoolBatch) -> None:
        """Remove the kept files of a batch that was sent."""
        for file in batch.files:
            shutil.rmtree((self.outbox / file.file).parent, ignore_errors=True)

    def _new(self, points: Sequence[Point]) -> list[Point]:
        """The points that the server lacks. A (key, step, timestamp) identifies a point, whatever its value."""
        had = {
            (key, metric.step, metric.timestamp)
            for key in dict.fromkeys(point.key for point in points)
            for metric in self.client.get_metric_history(self.run_id, key)
        }
        return [point for point in points if (point.key, point.step, point.time) not in had]

    def _fresh(self, params: Sequence[tuple[str, str]]) -> tuple[list[Param], dict[str, str]]:
        """New parameters, and tags for those whose value has changed, since MLflow's parameters cannot change."""
        fresh: list[Param] = []
        changed: dict[str, str] = {}
        for key, text in params:
            value = cut(text, MAX_PARAM)
            if key not in self._params:
                fresh.append(Param(key, value))
                self._params[key] = value
            elif self._params[key] != value:
                changed[f"changed.{key}"] = value
        return fresh, changed

    def _log(self, kind: str, entries: Sequence[Metric | Param | RunTag]) -> int:
        """Log entries of one kind; returns how many the server refuses. It checks a whole call before it writes, so the
        entries of a refused call are sent one by one."""
        bad = 0
        for start in range(0, len(entries), LIMITS[kind]):
            part = list(entries[start : start + LIMITS[kind]])
            try:
                self.client.log_batch(self.run_id, **{kind: part})
            except MlflowException as error:
                if not refused(error):
                    raise
                bad += sum(self._refused(kind, entry) for entry in part)
        return bad

    def _refused(self, kind: str, entry: Metric | Param | RunTag) -> bool:
        try:
            self.client.log_batch(self.run_id, **{kind: [entry]})
        except MlflowException as error:
            if not refused(error):
                raise
            _log.warning("run %s: %r was refused: %s", self.run_id, entry.key, str(error)[:200])
            return True
        return False

    def _upload(self, file: str, name: str) -> bool:
        path = self.outbox / file
        if not path.is_file():
            _log.warning("run %s: artifact %s/%s is gone", self.run_id, name, path.name)
            return False
        self.client.log_artifact(self.run_id, str(path), artifact_path=name)
        return True
