"""The watchdog of a rank: it ends a process that hangs, after a hang report that names the rank that is behind."""

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
from talkies.resilience.hang_report import HangReport, call_safely, print_line
from talkies.resilience.heartbeat import ENDED, EVERY_S, Beat, write_beat

TICK_S = 1.0
REPORT_S, WAIT_S, REQUEUE_S = 8.0, 5.5, 150.0
"""How long a hanging process may take for its hang report (the disk may hang, too), how much of that it waits for the
reporting rank, and how much is added to both if a scheduler must be asked for a requeue."""
BACKSTOP_S = 3.0
"""A native thread ends the process this long after the limit: code that holds the interpreter's lock stops ours."""
STDERR = 2


class Watchdog:
    """Within the block (around `fit`) this rank has a heartbeat, and a hang ends its process with exit code 71.

    A hang is `config.first_s` without a move of `activity` until the first optimizer step has ended, `config.later_s`
    after it. Every rank writes the stacks of its threads to RUN/hangs/ATTEMPT-rank-N.txt; one of them names the rank
    that is behind on stderr and calls `on_hang`. All ranks must enter the block. If the hang holds the interpreter's
    lock, faulthandler writes the stacks (a process has one such timer, which is ours until the block ends), the exit
    code is 1, and the other ranks report it; a single process writes its stacks to stderr.
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
        self._claimed = self._ending = False

    @property
    def limit_s(self) -> float:
        """How many seconds without a move are a hang now."""
        return self.config.later_s if self.activity.stepped else self.config.first_s

    @property
    def _requeue_s(self) -> float:
        return REQUEUE_S if self.on_hang is not None else 0.0

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
            # A thread may wait for a disk; or another rank has ended while this one writes its hang report.
            thread.join(timeout=None if self._ending else 5 * TICK_S)
        faulthandler.cancel_dump_traceback_later()
        self._write(ENDED)
        if self._spare != STDERR:
            os.close(self._spare)
        self.report.close()

    def _open_spare(self) -> int:
        """The file descriptor for faulthandler."""
        with suppress(OSError):  # checks before the run have reported an unusable folder
            self.report.open()
            if self.size > 1:
                return os.open(self.report.stacks(self.rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        return STDERR

    def _beat(self) -> None:
        """Thread: the files. It looks for another rank's hang only while this rank makes no move, either."""
        written = time.monotonic()
        while not self._end.wait(self.tick_s):
            idle = time.monotonic() - self.activity.now.since > self.limit_s / 2
            if idle or time.monotonic() - written >= self.every_s:
                self._write()
                written = time.monotonic()
            with suppress(OSError):
                self._claimed = idle and self.report.claimed()

    def _write(self, activity: str | None = None) -> None:
        now = self.activity.now
        with suppress(OSError):  # an unwritable heartbeat is no reason to stop
            write_beat(
                self.run,
                Beat(
                    rank=self.rank,
                    attempt=self.attempt,
                    phase=activity or now.activity,
                    step=now.step,
                    moves=now.moves,
                    seconds=time.monotonic() - now.since,
                    written=time.time(),
                    pid=os.getpid(),
                ),
            )

    def _watch(self) -> None:
        """Thread: the clock. It uses memory only, so that no disk can block it."""
        while not self._end.wait(self.tick_s):
            now, limit = self.activity.now, self.limit_s
            if self._claimed or time.monotonic() - now.since >= limit:
                self._end_hung(now, limit)
            self._arm(limit)

    def _arm(self, seconds: float) -> None:
        """Restart the native timer: it ends the process unless this is called again in time."""
        faulthandler.dump_traceback_later(seconds + BACKSTOP_S, exit=True, file=self._spare)

    def _end_hung(self, now: Moment, limit: float) -> None:
        """Write the hang report in a thread of its own, with a time limit; then end the process."""
        reporting = threading.Thread(target=self._report_hang, args=(now, limit), daemon=True, name="hang report")
        self._ending, patience = True, REPORT_S + self._requeue_s
        self._arm(patience)
        reporting.start()
        reporting.join(timeout=patience)
        if reporting.is_alive():
            self._arm(self._requeue_s)
            self._report_without_files(now, limit, "the disk does not answer")
        os._exit(HUNG)

    def _report_hang(self, now: Moment, limit: float) -> None:
        self._write()
        try:
            self.report.dump()
            self.report.publish(limit, self.on_hang, WAIT_S + self._requeue_s)
        except OSError as error:
            self._report_without_files(now, limit, str(error))

    def _report_without_files(self, now: Moment, limit: float, why: str) -> None:
        """Without files no rank can claim the report: rank 0 calls `on_hang`."""
        print_line(
            f"hang: rank {self.rank} has been in {now.activity} after step {now.step} for more than {limit:g} s; its "
            f"stacks are not in {self.report.folder}: {why}"
        )
        if self.rank == 0:
            call_safely(self.on_hang)
