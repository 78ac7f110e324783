"""The hang report: every rank writes the stacks of its threads; one rank prints a line and asks for a requeue."""

import faulthandler
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from talkies.resilience.heartbeat import HANGS, behind, describe_hang, read_beats

FIRST_S = 1.0
"""How long the other ranks leave the report to rank 0."""
STACKS_S = 4.0
"""How long the reporting rank waits for the stacks of all ranks: when it exits, the others are ended, too."""
DONE = "reported"


class HangReport:
    """The files of `attempt` of a run in RUN/hangs: ATTEMPT-rank-N.txt, ATTEMPT.claimed and ATTEMPT.json."""

    def __init__(self, run: Path, attempt: str, rank: int, size: int, every_s: float) -> None:
        self.run, self.attempt, self.rank, self.size, self.every_s = run, attempt, rank, size, every_s
        self.folder = run / HANGS
        self._claim, self._record = self.folder / f"{attempt}.claimed", self.folder / f"{attempt}.json"

    def stacks(self, rank: int) -> Path:
        """The file of a rank's stacks."""
        return self.folder / f"{self.attempt}-rank-{rank}.txt"

    def open(self) -> None:
        """Make the folder; OSError if it cannot be made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def close(self) -> None:
        """Remove what is empty: without a hang, no trace is left."""
        self._sweep()
        with suppress(OSError):  # the folder may hold files of other ranks or attempts
            self.folder.rmdir()

    def _sweep(self) -> None:
        """Remove the empty files of this rank, those of killed attempts included."""
        for path in self.folder.glob(f"*-rank-{self.rank}.txt"):
            with suppress(OSError):
                if not path.stat().st_size:
                    path.unlink()

    def claimed(self) -> bool:
        """Whether a rank has detected a hang."""
        return self._claim.exists()

    def dump(self) -> None:
        """Write the stacks of all threads of this process."""
        self.folder.mkdir(parents=True, exist_ok=True)  # another rank that ended its fit may have removed it
        with self.stacks(self.rank).open("a") as file:
            faulthandler.dump_traceback(file, all_threads=True)

    def publish(self, limit_s: float, on_hang: Callable[[], None] | None, patience_s: float) -> None:
        """The first rank to claim the report prints the line and calls `on_hang`. The others wait for it, at most
        `patience_s`: a launcher ends all ranks when the first one exits."""
        time.sleep(min(self.rank, 1) * FIRST_S)
        try:
            claim = os.open(self._claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _until(lambda: self._claim.stat().st_size > 0, patience_s)
            return
        _until(lambda: all(self._has_stacks(rank) for rank in range(self.size)), STACKS_S)
        line = self._line(limit_s)
        print_line(line)
        call_safely(on_hang)
        try:
            self._record.write_text(json.dumps({"told": line, "attempt": self.attempt, "at": time.time()}))
        except OSError:  # a full disk must not keep the other ranks waiting
            with suppress(OSError):
                self._record.unlink()
        with suppress(OSError):
            os.write(claim, DONE.encode())

    def _line(self, limit_s: float) -> str:
        beats = read_beats(self.run, self.attempt)
        late = [beat.rank for beat in behind(beats)]
        files = ", ".join(str(self.stacks(rank)) for rank in late[:2]) + (" ..." if len(late) > 2 else "")
        files = files or str(self.folder)
        return (
            f"hang: {describe_hang(beats, self.size, self.every_s)}; the limit is {limit_s:g} s (`survival.watchdog`); "
            f"stacks: {files}; the same command continues from the last checkpoint"
        )

    def _has_stacks(self, rank: int) -> bool:
        path = self.stacks(rank)
        return path.exists() and path.stat().st_size > 0


def print_line(line: str) -> None:
    """Write to file descriptor 2 directly: a hanging thread may hold the lock of sys.stderr."""
    os.write(2, f"talkies: {line}\n".encode())


def call_safely(on_hang: Callable[[], None] | None) -> None:
    """Call `on_hang`; an error is reported, not raised."""
    try:
        if on_hang is not None:
            on_hang()
    except Exception as error:
        print_line(f"warning: hang: {' '.join(str(error).split())}")


def _until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.1)
