"""RUN_FOLDER/progress.json: how far a spool was sent, and a batch that was perhaps sent; one sender at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from talkies.config.numbers import Natural
from talkies.config.records import Kind, Name, open_ours, record
from talkies.files.durable import UNWRITABLE, write_json

FILE = "progress.json"
LOCK = ".uploader.lock"


@record
class Progress:
    """`offset`: bytes of the spool that `run_id` has; `inflight`: end of a batch that was begun and perhaps sent. The
    counts cover the whole life of the run: metrics sent, artifacts sent, artifacts whose file was missing, entries that
    the server refused."""

    run_id: Name
    offset: Natural
    inflight: Natural | None
    metrics: Natural = 0
    artifacts: Natural = 0
    missing: Natural = 0
    refused: Natural = 0

    def __post_init__(self) -> None:
        if self.inflight is not None and self.inflight <= self.offset:
            raise ValueError(f"its `inflight` is {self.inflight}, and must be more than its `offset` {self.offset}")


PROGRESS = Kind(
    holds=Progress, about="tracking", remedy="restore it from a copy, or remove it and run.json to upload the run again"
)


def load(run_folder: Path, run_id: str) -> Progress:
    """The progress of `run_id`; zero if none, or that of another run, is recorded. DataError if progress.json is
    damaged."""
    found = PROGRESS.find(run_folder / FILE)
    return found if found is not None and found.run_id == run_id else Progress(run_id=run_id, offset=0, inflight=None)


def save(run_folder: Path, progress: Progress) -> None:
    """Replace progress.json, synced."""
    write_json(run_folder / FILE, asdict(progress), refused=UNWRITABLE)


def begun(progress: Progress, end: int) -> Progress:
    """The progress before a batch that ends at byte `end` is sent."""
    return replace(progress, inflight=end)


def sent(progress: Progress, *, metrics: int, artifacts: int, missing: int, refused: int) -> Progress:
    """The progress after the batch in flight was sent."""
    assert progress.inflight is not None
    return replace(
        progress,
        offset=progress.inflight,
        inflight=None,
        metrics=progress.metrics + metrics,
        artifacts=progress.artifacts + artifacts,
        missing=progress.missing + missing,
        refused=progress.refused + refused,
    )


@contextmanager
def sole_sender(run_folder: Path) -> Iterator[bool]:
    """Yields whether this process holds the lock for sending the run's spool in the block. The lock ends with its
    process."""
    with os.fdopen(open_ours(run_folder / LOCK, os.O_RDWR), "r+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
