"""What is left of a rank that hangs: the stacks of its threads, and, of one rank for all, a line and a requeue."""

import faulthandler
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from talkies.resilience.heartbeat import HANGS, accused, behind, read_beats

FIRST_S = 1.0
"""How long the others leave the report to rank 0."""
STACKS_S = 4.0
"""How long the rank that reports waits for the stacks of all: with its end comes that of the others."""
DONE = "told"


class HangReport:
    """The files of `attempt` of a run in RUN/hangs: ATTEMPT-rank-N.txt, ATTEMPT.claimed and ATTEMPT.json."""

    def __init__(self, run: Path, attempt: str, rank: int, size: int, every_s: float) -> None:
        self.run, self.attempt, self.rank, self.size, self.every_s = run, attempt, rank, size, every_s
        self.folder = run / HANGS
        self._claim, self._made = self.folder / f"{attempt}.claimed", self.folder / f"{attempt}.json"

    def stacks(self, rank: int) -> Path:
        """Where a rank's stacks go."""
        return self.folder / f"{self.attempt}-rank-{rank}.txt"

    def open(self) -> None:
        """Make the folder; OSError where that is not possible."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def close(self) -> None:
        """Nothing was said: leave no trace."""
        self._sweep()
        with suppress(OSError):  # somebody else's may lie there
            self.folder.rmdir()

    def _sweep(self) -> None:
        """Remove the empty files of this rank; earlier attempts that were killed have left theirs."""
        for path in self.folder.glob(f"*-rank-{self.rank}.txt"):
            with suppress(OSError):
                if not path.stat().st_size:
                    path.unlink()

    def claimed(self) -> bool:
        """Whether a rank has found a hang."""
        return self._claim.exists()

    def dump(self) -> None:
        """The stacks of all threads of this process."""
        self.folder.mkdir(parents=True, exist_ok=True)  # another rank that ended its fit may have removed it
        with self.stacks(self.rank).open("a") as file:
            faulthandler.dump_traceback(file, all_threads=True)

    def publish(self, limit_s: float, on_hang: Callable[[], None] | None, patience_s: float) -> None:
        """On one rank: the line, and `on_hang`. The others wait until that is done, for `patience_s` at most: a
        launcher ends all with the first that leaves."""
        time.sleep(min(self.rank, 1) * FIRST_S)
        try:
            claim = os.open(self._claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _until(lambda: self._claim.stat().st_size > 0, patience_s)
            return
        _until(lambda: all(self._has_stacks(rank) for rank in range(self.size)), STACKS_S)
        line = self._line(limit_s)
        say(line)
        ask(on_hang)
        try:
            self._made.write_text(json.dumps({"told": line, "attempt": self.attempt, "at": time.time()}))
        except OSError:  # a full disk must not keep the others waiting
            with suppress(OSError):
                self._made.unlink()
        with suppress(OSError):
            os.write(claim, DONE.encode())

    def _line(self, limit_s: float) -> str:
        beats = read_beats(self.run, self.attempt)
        late = [beat.rank for beat in behind(beats)]
        files = ", ".join(str(self.stacks(rank)) for rank in late[:2]) + (" ..." if len(late) > 2 else "")
        files = files or str(self.folder)
        return (
            f"hang: {accused(beats, self.size, self.every_s)}; the limit is {limit_s:g} s (`survival.watchdog`); "
            f"stacks: {files}; the same command continues from the last checkpoint"
        )

    def _has_stacks(self, rank: int) -> bool:
        path = self.stacks(rank)
        return path.exists() and path.stat().st_size > 0


def say(line: str) -> None:
    """On stderr, past what Python makes of it: a thread that hangs may hold its lock."""
    os.write(2, f"talkies: {line}\n".encode())


def ask(on_hang: Callable[[], None] | None) -> None:
    """Call it; what goes wrong is reported."""
    try:
        if on_hang is not None:
            on_hang()
    except Exception as error:
        say(f"warning: hang: {' '.join(str(error).split())}")


def _until(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not true():
        time.sleep(0.1)
