"""RUN_FOLDER/progress.json: how far a spool was sent, and the batch whose fate is unknown; one sender at a time."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from talkies.config import TrackingError
from talkies.tracking.atomic import write_json

FILE = "progress.json"
LOCK = ".uploader.lock"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Bytes of the spool that `run_id` has; `inflight`: end of a batch that was begun and perhaps sent. The counts are
    over the whole life of the run: metrics sent, artifacts sent, artifacts whose file was gone, entries that the server
    refused."""

    run_id: str
    offset: int = 0
    inflight: int | None = None
    metrics: int = 0
    artifacts: int = 0
    missing: int = 0
    refused: int = 0


def load(run_folder: Path, run_id: str) -> Progress:
    """The progress of `run_id`, from its beginning where nothing (or another run) is recorded."""
    path = run_folder / FILE
    if not path.is_file():
        return Progress(run_id=run_id)
    try:
        found = Progress(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise TrackingError(f"tracking: {path} is damaged ({error}); remove it and run.json to upload again") from None
    return found if found.run_id == run_id else Progress(run_id=run_id)


def save(run_folder: Path, progress: Progress) -> None:
    """Replace progress.json, synced."""
    write_json(run_folder / FILE, asdict(progress))


def begun(progress: Progress, end: int) -> Progress:
    """Before a batch that ends at byte `end` is sent."""
    return replace(progress, inflight=end)


def sent(progress: Progress, *, metrics: int, artifacts: int, missing: int, refused: int) -> Progress:
    """After the batch in flight was sent."""
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
    """Whether this process alone may send the run's spool while the block runs. The lock dies with its process."""
    with (run_folder / LOCK).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
