"""`python -m talkies.tracking.uploader RUN_FOLDER...`: the side process that sends spools to MLflow while runs work.

It ends when every run has ended and was sent, on SIGTERM, or, once its parent process is gone, when nothing is left to
send or the deadline has passed; `talkies replay` sends the rest. A server that is down is retried without limit, at
most once a minute.
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from talkies.config import UserError
from talkies.tracking.progress import sole_sender
from talkies.tracking.records import SPOOL
from talkies.tracking.replay import Replayer

_log = logging.getLogger(__name__)


class Follower:
    """Follows one run folder: waits for its spool and its lock, then sends new records, with growing pauses after
    failures. `idle`: nothing is left to send now; `done`: nothing more will come."""

    def __init__(self, folder: Path, poll_s: float, slowest_s: float) -> None:
        self.folder, self.poll_s, self.slowest_s = folder, poll_s, slowest_s
        self.done = self.idle = False
        self._replayer: Replayer | None = None
        self._lock = ExitStack()
        self._failures = 0
        self._next = 0.0

    def step(self) -> None:
        """Send new records, if the pause is over."""
        if self.done or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.poll_s
        self.idle = False
        try:
            self._send()
        except UserError as error:
            self._failures += 1
            pause = min(self.slowest_s, self.poll_s * 2**self._failures)
            _log.warning("%s; again in %.0f s", error, pause)
            self._next = time.monotonic() + pause
            self._replayer = None
            self.close()  # during the pause `talkies replay` may try

    def wake(self) -> None:
        """Check again at once: there may be more to send."""
        self._next, self.idle = 0.0, False

    def close(self) -> None:
        """Let other processes send."""
        self._lock.close()

    def _send(self) -> None:
        if not (self.folder / SPOOL).is_file():
            self.idle = True
            return
        if self._replayer is None:
            self._lock.close()
            if not self._lock.enter_context(sole_sender(self.folder)):
                return  # an earlier attempt's uploader still holds it
            self._replayer = Replayer(self.folder)
            _log.info("%s is run %s", self.folder, self._replayer.progress.run_id)
        new = self._replayer.drain()
        if self._failures:
            _log.info("%s: sending again after %d failures", self.folder, self._failures)
        self._failures = 0
        self.idle, self.done = True, self._replayer.ended
        if self.done:
            _log.info("%s: %s", self.folder, self._replayer.report(new))
            self.close()


def follow(
    folders: Sequence[Path], *, parent: int | None, poll_s: float, slowest_s: float, deadline_s: float, stop: Event
) -> bool:
    """Send the spools of `folders` until one of the conditions above holds; True if everything was sent.

    `parent`: process id of this process's parent; None: there is none, and the deadline already runs.
    """
    followers = [Follower(folder, poll_s, slowest_s) for folder in folders]
    alone_since: float | None = None
    while not stop.is_set():
        gone = parent is None or os.getppid() != parent
        for follower in followers:
            if gone and alone_since is None:
                follower.wake()  # only now can the death of the parent be seen
            follower.step()
        if all(follower.done or (gone and follower.idle) for follower in followers):
            break
        if gone:
            alone_since = alone_since or time.monotonic()
            if time.monotonic() - alone_since > deadline_s:
                break
        stop.wait(poll_s / 2)
    complete = all(follower.done or follower.idle for follower in followers)
    for follower in followers:
        follower.close()
    if not complete:
        _log.warning("not everything was sent; do it later: talkies replay %s", " ".join(map(str, folders)))
    return complete


def main(argv: Sequence[str] | None = None) -> int:
    """The process: exit code 0 when everything was sent, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m talkies.tracking.uploader")
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--parent", type=int, help="process id of the training process that started this one")
    parser.add_argument("--poll", type=float, default=1.0, metavar="SECONDS", help="pause between looks at a spool (1)")
    parser.add_argument(
        "--slowest", type=float, default=60.0, metavar="SECONDS", help="longest pause after failures (60)"
    )
    parser.add_argument("--deadline", type=float, default=600.0, metavar="SECONDS", help="after the parent ended (600)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    os.nice(10)
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    complete = follow(
        args.folders, parent=args.parent, poll_s=args.poll, slowest_s=args.slowest, deadline_s=args.deadline, stop=stop
    )
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
