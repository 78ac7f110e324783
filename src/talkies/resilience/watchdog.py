"""The watchdog of a rank: it ends a process that hangs, after it has said who is behind and where everybody stands."""

import faulthandler
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from talkies.config.errors import HUNG
from talkies.parallel.ranks import Ranks
from talkies.resilience.activity import Activity, Moment
from talkies.resilience.config import WatchdogConfig
from talkies.resilience.hang_report import HangReport, ask, say
from talkies.resilience.heartbeat import ENDED, EVERY_S, Beat, write_beat

TICK_S = 1.0
REPORT_S, WAIT_S, ASKING_S = 8.0, 5.5, 150.0
"""How long a hanging process may take for its hang report (stacks and heartbeats lie on a disk that may hang, too), how
long of that it waits for the rank that tells, and how much longer both may be where a scheduler is asked."""
BACKSTOP_S = 3.0
"""A thread without Python ends a process that much after the limit: what holds the interpreter's lock stops ours."""
STDERR = 2


class Watchdog:
    """Within the block (around `fit`) this rank has a heartbeat, and a hang ends its process with exit code 71.

    A hang is `config.first_s` without a move of `activity` until the first optimizer step has ended, `config.later_s`
    after it. The stacks of all threads go to RUN/hangs/ATTEMPT-rank-N.txt on every rank; one of them says on stderr who
    is behind and calls `on_hang`. All ranks must enter the block. Where the hang holds the interpreter's lock,
    faulthandler writes the stacks (a process has one such timer, and it is ours until the block ends), the exit code is
    1, and the other ranks report it; a process alone writes its stacks to stderr.
    """

    def __init__(
        self,
        config: WatchdogConfig,
        run: Path,
        activity: Activity,
        ranks: Ranks,
        on_hang: Callable[[], None] | None = None,
    ) -> None:
        self.config, self.run, self.activity, self.on_hang = config, run, activity, on_hang
        self.rank, self.size = ranks.place
        self.attempt = ranks.broadcast(f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
        shortest = min(config.first_s, config.later_s)
        self.tick_s, self.every_s = min(TICK_S, shortest / 20), min(EVERY_S, shortest / 4)
        self.report = HangReport(run, self.attempt, self.rank, self.size, self.every_s)
        self._end = threading.Event()
        duties = {"heartbeat": self._beat, "watchdog": self._watch}
        self._threads = [threading.Thread(target=duty, daemon=True, name=name) for name, duty in duties.items()]
        self._spare = STDERR
        self._called = self._biting = False

    @property
    def limit_s(self) -> float:
        """Seconds without a move that are a hang now."""
        return self.config.later_s if self.activity.stepped else self.config.first_s

    @property
    def _asking_s(self) -> float:
        return ASKING_S if self.on_hang is not None else 0.0

    def __enter__(self) -> "Watchdog":
        self.activity.begin()
        self._spare = self._open_spare()
        self._write()
        self._arm(self.limit_s)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            # It may wait for a disk; or this is another rank's end, which comes into the midst of our hang report.
            thread.join(timeout=None if self._biting else 5 * TICK_S)
        faulthandler.cancel_dump_traceback_later()
        self._write(ENDED)
        if self._spare != STDERR:
            os.close(self._spare)
        self.report.close()

    def _open_spare(self) -> int:
        """Where faulthandler writes."""
        with suppress(OSError):  # what hurts a run has been said before
            self.report.open()
            if self.size > 1:
                return os.open(self.report.stacks(self.rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        return STDERR

    def _beat(self) -> None:
        """Duty of a thread: the files. It looks for another rank's hang only where this one makes no move either."""
        written = time.monotonic()
        while not self._end.wait(self.tick_s):
            stands = time.monotonic() - self.activity.now.since > self.limit_s / 2
            if stands or time.monotonic() - written >= self.every_s:
                self._write()
                written = time.monotonic()
            with suppress(OSError):
                self._called = stands and self.report.claimed()

    def _write(self, phase: str | None = None) -> None:
        now = self.activity.now
        with suppress(OSError):  # a heartbeat that cannot be written is no reason to stop
            write_beat(
                self.run,
                Beat(
                    rank=self.rank,
                    attempt=self.attempt,
                    phase=phase or now.phase,
                    step=now.step,
                    moves=now.moves,
                    seconds=time.monotonic() - now.since,
                    written=time.time(),
                    pid=os.getpid(),
                ),
            )

    def _watch(self) -> None:
        """Duty of a thread: the clock, in memory alone."""
        while not self._end.wait(self.tick_s):
            now, limit = self.activity.now, self.limit_s
            if self._called or time.monotonic() - now.since >= limit:
                self._bite(now, limit)
            self._arm(limit)

    def _arm(self, seconds: float) -> None:
        """From now on: who cannot do this again in time is stopped by a thread that needs no Python."""
        faulthandler.dump_traceback_later(seconds + BACKSTOP_S, exit=True, file=self._spare)

    def _bite(self, now: Moment, limit: float) -> None:
        """Last words, in a thread of their own that is waited for as long as is decent; then the end."""
        ending = threading.Thread(target=self._speak, args=(now, limit), daemon=True, name="hang report")
        self._biting, patience = True, REPORT_S + self._asking_s
        self._arm(patience)
        ending.start()
        ending.join(timeout=patience)
        if ending.is_alive():
            self._arm(self._asking_s)
            self._speak_without_files(now, limit, "the disk does not answer")
        os._exit(HUNG)

    def _speak(self, now: Moment, limit: float) -> None:
        self._write()
        try:
            self.report.dump()
            self.report.publish(limit, self.on_hang, WAIT_S + self._asking_s)
        except OSError as error:
            self._speak_without_files(now, limit, str(error))

    def _speak_without_files(self, now: Moment, limit: float, why: str) -> None:
        """Where nobody can claim the word, the first rank asks."""
        say(
            f"hang: rank {self.rank} has been in {now.phase} after step {now.step} for more than {limit:g} s; its "
            f"stacks are not in {self.report.folder}: {why}"
        )
        if self.rank == 0:
            ask(self.on_hang)
