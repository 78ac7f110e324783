"""What was heard: handlers that set a flag and do nothing else. A process imports this first, so it imports little."""

import os
import signal
import sys
import time
from _thread import get_ident
from collections.abc import Callable
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
DEAF = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""What the processes that this one forks ignore: see `children`."""
STANDARD_STREAMS = (0, 1, 2)


class Interruption(BaseException):
    """A signal (`name`) asked the process to end. No KeyboardInterrupt, of which Lightning makes exit code 1 without a
    word; no Exception, which something on the way may catch."""

    exit_code = 130

    def __init__(self, name: str) -> None:
        super().__init__(f"interrupted by {name}")
        self.name = name


class Flag:
    """What this process has heard, and who answers. There is one, as there is one set of handlers in a process."""

    def __init__(self) -> None:
        self.before: dict[int, object] = {}
        """The handlers that ours replaced, by number: empty where nobody listens."""
        self.ignored: frozenset[int] = frozenset()
        self.for_good = self.hooked = False
        self.main = 0
        self.code: int | None = None
        """With what this process ends, once that is settled."""
        self.terminals: tuple[int, ...] = ()
        self.clear()

    def clear(self) -> None:
        """Forget what was heard."""
        self.name: str | None = None
        self.since = self.released = 0.0
        self.heard: list[int] = []
        self.raised = self.answered = self.settled = self.impatient = False
        self.claims = self.kept = 0
        self.acts: list[Callable[[], None]] = []
        self.requeue: Callable[[], None] | None = None

    def note(self, number: int) -> None:
        """A signal came. Whoever ends a job may tell its launcher and its processes; an end overrules a preemption."""
        if self.name is None:
            self.since = time.monotonic()
        if self.name is None or number != signal.SIGUSR1:
            self.name = signal.Signals(number).name
        if number == signal.SIGHUP:
            self._leave_terminal()

    def _leave_terminal(self) -> None:
        """The terminal is gone: what is written there from now on must not fail."""
        terminals, self.terminals = self.terminals, ()
        if terminals:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in terminals:
                os.dup2(nowhere, stream, inheritable=True)
            os.close(nowhere)


FLAG = Flag()


def hear(number: int, _: FrameType | None) -> None:
    """The handler."""
    FLAG.heard.append(number)
    FLAG.note(number)


def install() -> None:
    """Hear all ENDING signals that are not ignored now. Only in the main thread."""
    found = {number: signal.getsignal(number) for number in ENDING}
    FLAG.before = {number: handler for number, handler in found.items() if handler not in (signal.SIG_IGN, None)}
    FLAG.ignored = frozenset(number for number, handler in found.items() if handler is signal.SIG_IGN)
    FLAG.main = get_ident()
    for number in FLAG.before:
        signal.signal(number, hear)
    FLAG.terminals = tuple(stream for stream in STANDARD_STREAMS if os.isatty(stream))
    if not FLAG.hooked:
        os.register_at_fork(after_in_child=_forget)
        FLAG.hooked = True


def leave() -> None:
    """End the process, if it is settled with what. The interpreter is not taken apart: threads of libraries may still
    run, and one of gloo's that lets a tensor go just then aborts the process (pytorch/pytorch#179291)."""
    if FLAG.code is None:
        return
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed, full or gone
            continue
    os._exit(FLAG.code)


def _forget() -> None:
    """A forked child has nothing to do with what its parent hears: it ignores DEAF, and dies of SIGTERM."""
    if FLAG.for_good:
        signal.set_wakeup_fd(-1)
    before, FLAG.before, FLAG.for_good, FLAG.code = FLAG.before, {}, False, None
    FLAG.clear()
    for number in before:
        signal.signal(number, signal.SIG_IGN if number in DEAF else signal.SIG_DFL)
