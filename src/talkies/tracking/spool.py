"""The spool: the file in the run folder that training logs to, line by line. A side process sends it to MLflow.

Nothing here waits for a server, imports MLflow, or raises into training: on a full disk records are dropped with one
warning and counted, and the count is recorded as soon as there is space again.
"""

import logging
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from talkies.config import RecipeError
from talkies.config.places import kept, kept_uri
from talkies.config.quoting import one_line
from talkies.config.records import open_ours
from talkies.config.regular_files import resolved
from talkies.config.secrets import bare, masked
from talkies.signals.answer import until
from talkies.signals.children import children_ignore_signals
from talkies.tracking.config import TrackingConfig
from talkies.tracking.mlflow_run import read_mlflow_run
from talkies.tracking.records import OUTBOX, SPOOL, encode, number, read

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
MAX_ARTIFACT = 256 << 20
TAIL = 8 << 20
_log = logging.getLogger(__name__)
_detached: list["subprocess.Popen[bytes]"] = []  # uploaders outlive their Tracker; Popen would warn of them


class Tracker:
    """Appends parameters, tags, metrics, small files and the status of a run to RUN_FOLDER/spool.jsonl.

    `store`: the resolved tracking URI; `artifact_root`: where a local store keeps artifacts; `parent_folder`: run
    folder of the parent run. `training=False`: for a verb that adds measurements to a run. It does not count as an
    attempt, and repeated measurements at a step are kept beside the first. `fsync`: sync every record, not only the
    last.

    Raises RecipeError if the run is already tracked in another store.
    """

    def __init__(
        self,
        run_folder: Path,
        config: TrackingConfig,
        *,
        name: str,
        store: str,
        artifact_root: Path | None = None,
        parent_folder: Path | None = None,
        training: bool = True,
        fsync: bool = False,
    ) -> None:
        self.folder, self.fsync, self.dropped = run_folder, fsync, 0
        check_store(run_folder, store)
        self.last: dict[str, float] = recorded(run_folder)
        self._session = uuid.uuid4().hex[:12]
        self._process: subprocess.Popen[bytes] | None = None
        self._unreported = 0
        self._torn = False
        begin: dict[str, Any] = {"run": uuid.uuid4().hex, "name": name, "experiment": config.experiment}
        places = {"artifacts": artifact_root, "parent": parent_folder}
        begin |= {key: None if path is None else kept(path, run_folder) for key, path in places.items()}
        begin |= {"store": kept_uri(store, run_folder), "training": training}
        begin |= {"pid": os.getpid(), "host": socket.gethostname()}
        self._begin: dict[str, Any] | None = begin
        self._file = self._open()
        self._write("begin", begin)

    def params(self, values: Mapping[str, object]) -> None:
        """Parameters; the first value of each stays (MLflow's rule), a later one becomes the tag `changed.<key>`."""
        self._write("params", {"values": _lines(values)})

    def tags(self, values: Mapping[str, object]) -> None:
        """Tags; the last value of each stays."""
        self._write("tags", {"values": _lines(values)})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Metrics at an optimizer step; NaN and infinity are kept. The first value of a (key, step) stays: what a
        resumed run logs again is not sent."""
        try:
            found = {key: float(value) for key, value in values.items()}
        except (TypeError, ValueError, RuntimeError) as error:
            self._drop(f"metrics {sorted(values)} at step {step}: {error}")
            return
        self.last.update(found)
        self._write("metrics", {"step": int(step), "values": {key: number(value) for key, value in found.items()}})

    def went_back(self, step: int) -> None:
        """Record a rollback to `step`: values of later steps are sent from now on, although these had values before."""
        self._write("back", {"step": step})

    def artifact(self, path: Path, name: str) -> None:
        """Send the small file `path` to the run's artifact folder `name`, as it is now: a hard link or a copy is kept
        until it was sent. Files above 256 MiB are dropped with a warning: log a manifest instead."""
        token = uuid.uuid4().hex[:12]
        kept = self.folder / OUTBOX / token / path.name
        try:
            if (size := path.stat().st_size) > MAX_ARTIFACT:
                self._drop(f"artifact {path} of {size} bytes: at most {MAX_ARTIFACT}; log its manifest instead")
                return
            kept.parent.mkdir(parents=True)
            _keep(path, kept)
        except OSError as error:
            shutil.rmtree(kept.parent, ignore_errors=True)
            self._drop(f"artifact {path}: {error}")
            return
        self._write("artifact", {"file": f"{token}/{path.name}", "name": name})

    def status(self, status: Status) -> None:
        """Set the run's status."""
        self._write("status", {"status": status})

    def start_uploader(self, *folders: Path) -> None:
        """Start the side process for this run folder (and `folders`, which may not exist yet)."""
        try:
            self._process = start_uploader(self.folder, *folders)
        except OSError as error:
            _log.warning("tracking: no uploader (%s); send the run later: talkies replay %s", error, self.folder)

    def close(self, deadline_s: float = 0.0) -> bool:
        """Record the end, and wait for the uploader, up to `deadline_s` or a signal. True if it has sent everything."""
        self._write("end", {})
        self._sync(always=True)
        if self._file is not None:
            os.close(self._file)
            self._file = None
        process = self._process
        if process is None:
            return False
        return until(lambda: process.poll() is not None, deadline_s) and process.returncode == 0

    def _open(self) -> int | None:
        path = self.folder / SPOOL
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open_ours(path, os.O_RDWR | os.O_APPEND)
            size = os.fstat(file).st_size
            self._torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        except OSError as error:
            self._drop(f"{path}: {error}")
            return None
        return file

    def _write(self, kind: str, values: Mapping[str, Any]) -> None:
        if self._file is None:
            self._file = self._open() if kind != "end" else None
        if self._file is None:
            self._drop(f"{kind}: no spool is open")
            return
        now = {"time": time.time_ns() // 1_000_000, "session": self._session}
        lines = [{"kind": kind, **values}]
        if self._unreported:
            lines.insert(0, {"kind": "dropped", "count": self._unreported})
        if self._begin is not None and kind != "begin":  # the disk was full when the run began
            lines.insert(0, {"kind": "begin", **self._begin})
        if self._append(b"\n" * self._torn + b"".join(encode({**line, **now}) for line in lines)):
            self._unreported, self._begin = 0, None

    def _append(self, data: bytes) -> bool:
        assert self._file is not None
        try:
            written = os.write(self._file, data)
        except OSError as error:
            self._drop(str(error))
            return False
        self._torn = written < len(data)
        if self._torn:
            self._drop("the disk took only a part of a record")
            return False
        self._sync(always=self.fsync)
        return True

    def _sync(self, *, always: bool) -> None:
        if not always or self._file is None:
            return
        try:
            os.fsync(self._file)
        except OSError as error:
            _log.warning("tracking: cannot sync %s: %s", self.folder / SPOOL, error)

    def _drop(self, why: str) -> None:
        self._unreported += 1
        self.dropped += 1
        if self.dropped == 1:
            _log.warning(
                "tracking: dropped a record of %s (%s); training continues, later drops are counted", self.folder, why
            )


def check_store(run_folder: Path, store: str) -> None:
    """RecipeError if the run is already tracked in another store than `store`. Credentials in the recorded URI (older
    versions kept them) are ignored in the comparison."""
    found = read_mlflow_run(run_folder)
    if found is not None and bare(found.tracking_uri) != bare(store):
        raise RecipeError(
            f"tracking: {run_folder} is tracked at {masked(found.tracking_uri)}, not at {masked(store)}: set "
            f"`tracking.uri` to the former, start a new run (--new), or remove {run_folder / 'run.json'} to upload the "
            "whole run again"
        )


def recorded(run_folder: Path) -> dict[str, float]:
    """The last value of every metric in the last megabytes of a spool (a longer one would delay the start)."""
    found: dict[str, float] = {}
    path = run_folder / SPOOL
    start = max(0, path.stat().st_size - TAIL) if path.is_file() else 0
    for _, record in read(path, start):
        if record is not None and record["kind"] == "metrics":
            found.update({key: float(value) for key, value in record["values"].items()})
    return found


def start_uploader(*folders: Path, options: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
    """Start the side process that sends the spools of `folders`; its log is uploader.log in the first.

    It outlives this process until everything is sent or its deadline has passed. `options`: of the uploader's command.
    """
    source = Path(__file__).parents[2]
    path = os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", "talkies.tracking.uploader", "--parent", str(os.getpid())]
    folders[0].mkdir(parents=True, exist_ok=True)
    # The uploader ends after its parent has ended, not at a signal that the parent receives.
    with (
        os.fdopen(open_ours(folders[0] / "uploader.log", os.O_WRONLY | os.O_APPEND), "ab") as log,
        children_ignore_signals(),
    ):
        process = subprocess.Popen(
            [*command, *options, *(str(resolved(folder)) for folder in folders)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
    _detached.append(process)
    return process


def _keep(path: Path, kept: Path) -> None:
    try:
        os.link(path, kept)
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, kept)


def _lines(values: Mapping[str, object]) -> dict[str, str]:
    """Values as text for MLflow's pages: each on one line, without credentials."""
    return {key: one_line(str(value)) for key, value in values.items()}
