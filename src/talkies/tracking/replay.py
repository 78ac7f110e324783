"""Sending a spool to MLflow: every metric exactly once, with its first timestamp."""

import logging
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from talkies.config import TrackingError
from talkies.config.records import present
from talkies.resilience.heartbeat import last_hang
from talkies.signals.answer import pause
from talkies.tracking.journal import Journal
from talkies.tracking.progress import FILE, PROGRESS, Progress, begun, load, save, sent, sole_sender
from talkies.tracking.records import OUTBOX, SPOOL
from talkies.tracking.runs import ParentBusyError, adopt_run
from talkies.tracking.send import Sender

WAIT_S, QUIET_S = 300.0, 30.0
"""How long to wait for an uploader, which gives way to all other work of a busy machine: in all, and silently."""
MAX_NAMED = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ReplayReport:
    """What MLflow has of a run. `metrics`, `artifacts`: sent over the run's life; `sent`: metrics sent by this call;
    `skipped`: logged again by a resumed attempt; `dropped`: lost to a full disk; `bad`: numbers of the spool's lines
    that are not records; `missing`: artifacts whose file was gone; `refused`: entries that the server rejects."""

    run_id: str
    sent: int
    metrics: int
    artifacts: int
    skipped: int
    dropped: int
    bad: tuple[int, ...]
    missing: int
    refused: int

    def __str__(self) -> str:
        lost = {"dropped": self.dropped, "missing": self.missing, "refused": self.refused}
        losses = "".join(f", {count} {name}" for name, count in lost.items() if count)
        if self.bad:
            shown = ", ".join(map(str, self.bad[:MAX_NAMED])) + (", ..." if len(self.bad) > MAX_NAMED else "")
            losses += f", {len(self.bad)} torn or damaged in {SPOOL} (line {shown}) left out"
        again = f", {self.skipped} logged again by a resume" if self.skipped else ""
        return (
            f"{self.sent} metrics sent, {self.metrics} in run {self.run_id}, {self.artifacts} artifacts{again}{losses}"
        )


class Replayer:
    """Sends one run folder's spool, batch by batch. Only the folder's sole sender may use it.

    Construction raises TrackingError if the store cannot be reached.
    """

    def __init__(self, run_folder: Path) -> None:
        self.folder = run_folder
        client, identity = adopt_run(run_folder)
        self.journal = Journal(run_folder)
        self.progress = load(run_folder, identity.mlflow_run_id)
        self.sender = Sender(client, identity.mlflow_run_id, run_folder / OUTBOX)
        self._catch_up(self.progress)

    def drain(self) -> int:
        """Send everything that is complete now; returns the number of metrics. TrackingError if sending fails: call
        again later with a new Replayer."""
        before = self.progress.metrics
        while self._step():
            pass
        if self._died():
            began = max(begin["time"] for begin in self.journal.open.values() if begin["training"])
            hang = last_hang(self.folder, since_s=began / 1000)
            self.sender.status("KILLED" if hang is None else "FAILED", self.journal.last_time)
            # The tag names the attempt: the next one may succeed.
            tag = f"ended.attempt-{self.journal.attempts}"
            self.sender.tags({tag: hang or "the process died without a message"})
            self.journal.open.clear()
        return self.progress.metrics - before

    @property
    def ended(self) -> bool:
        """Whether every session of the spool has ended and was sent."""
        return not self.journal.open and not self.journal.rest()

    def report(self, new: int) -> ReplayReport:
        """The counts; `new`: metrics sent by this call."""
        journal, progress = self.journal, self.progress
        return ReplayReport(
            run_id=progress.run_id,
            sent=new,
            metrics=progress.metrics,
            artifacts=progress.artifacts,
            skipped=journal.skipped,
            dropped=journal.dropped,
            bad=tuple(journal.bad),
            missing=progress.missing,
            refused=progress.refused,
        )

    def _catch_up(self, progress: Progress) -> None:
        """Read what was sent before, which must not be sent again."""
        while self.journal.offset < progress.offset:
            if self.journal.batch(until=progress.offset) is None:
                raise TrackingError(
                    f"tracking: {self.folder / SPOOL} is shorter than the part that run {progress.run_id} has of it: "
                    "restore it, or remove run.json to upload the run again"
                )

    def _step(self) -> bool:
        unknown = self.progress.inflight
        batch = self.journal.batch(until=unknown)
        if unknown is not None and (batch is None or batch.end != unknown):
            raise PROGRESS.damaged(self.folder / FILE, f"no records of {SPOOL} end at its `inflight` {unknown}")
        if batch is None:
            return False
        if unknown is None:
            self.progress = begun(self.progress, batch.end)
            save(self.folder, self.progress)
        outcome = self.sender.send(batch, unknown=unknown is not None)
        self.progress = sent(
            self.progress,
            metrics=outcome.metrics,
            artifacts=outcome.artifacts,
            missing=outcome.missing,
            refused=outcome.refused,
        )
        save(self.folder, self.progress)
        self.sender.clear(batch)
        return True

    def _died(self) -> bool:
        """Whether the process of the open training session has died on this machine."""
        begins = [begin for begin in self.journal.open.values() if begin["training"]]
        if not begins or self.journal.status != "RUNNING" or self.journal.rest():
            return False
        return all(dead(begin["host"], begin["pid"]) for begin in begins)


def dead(host: str, pid: int) -> bool:
    """Whether process `pid` of this machine has ended; False for another machine's."""
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return state.is_file() and state.read_text().rpartition(")")[2].split()[0] == "Z"


def replay(run_folder: Path, *, wait_s: float = WAIT_S, quiet_s: float = QUIET_S) -> ReplayReport:
    """Send the rest of the spool of `run_folder`, after the job has ended or while it runs; idempotent. After `quiet_s`
    of waiting for another process that sends it, or makes its parent's run, a warning says so.

    Raises TrackingError if there is no spool, the server cannot be reached, or another process is still sending after
    `wait_s`.
    """
    if not present(run_folder / SPOOL):
        raise TrackingError(f"tracking: {run_folder} has no {SPOOL}: give the folder of a run that was trained")
    began, told = time.monotonic(), False
    while True:
        busy = TrackingError(
            f"tracking: an uploader of {run_folder} is still sending (see uploader.log); try again later"
        )
        with sole_sender(run_folder) as alone:
            if alone:
                try:
                    replayer = Replayer(run_folder)
                except ParentBusyError as error:
                    busy = error
                else:
                    return replayer.report(replayer.drain())
        waited = time.monotonic() - began
        if waited >= wait_s:
            raise busy
        if waited >= quiet_s and not told:
            _log.warning("tracking: waiting for the uploader of %s, up to %.0f s", run_folder, wait_s)
            told = True
        pause(0.2)
