"""Handlers that record a signal in a flag and do nothing else. A process imports this first, so it imports little."""

import os
import signal
import sys
import time
from _thread import get_ident
from collections.abc import Callable
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
IGNORED_BY_CHILDREN = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Signals that forked children ignore: see `children`."""
STANDARD_STREAMS = (0, 1, 2)


class Interruption(BaseException):
    """A signal (`name`) asked the process to end. Not a KeyboardInterrupt, which Lightning silently turns into exit
    code 1; not an Exception, which code on the way might catch."""

    exit_code = 130

    def __init__(self, name: str) -> None:
        super().__init__(f"interrupted by {name}")
        self.name = name


class Flag:
    """The signals that this process has received, and whether they are handled. One per process, like the handlers."""

    def __init__(self) -> None:
        self.replaced: dict[int, object] = {}
        """The handlers that ours replaced, by number; empty if ours are not installed."""
        self.ignored: frozenset[int] = frozenset()
        self.permanent = self.hooked = False
        self.main = 0
        self.code: int | None = None
        """The exit code of this process, once it is settled."""
        self.terminals: tuple[int, ...] = ()
        self.clear()

    def clear(self) -> None:
        """Forget all signals and claims."""
        self.name: str | None = None
        self.since = self.released = 0.0
        self.received: list[int] = []
        self.raised = self.handled = self.settled = self.forced = False
        self.claims = self.protections = 0
        self.actions: list[Callable[[], None]] = []
        self.requeue: Callable[[], None] | None = None

    def note(self, number: int) -> None:
        """Record a signal. Several may arrive for one stop; of these, an end overrules a preemption (SIGUSR1)."""
        if self.name is None:
            self.since = time.monotonic()
        if self.name is None or number != signal.SIGUSR1:
            self.name = signal.Signals(number).name
        if number == signal.SIGHUP:
            self._leave_terminal()

    def _leave_terminal(self) -> None:
        """The terminal is gone: writing to it must not fail from now on."""
        terminals, self.terminals = self.terminals, ()
        if terminals:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in terminals:
                os.dup2(null, stream, inheritable=True)
            os.close(null)


FLAG = Flag()


def record_signal(number: int, _: FrameType | None) -> None:
    """The handler of all signals."""
    FLAG.received.append(number)
    FLAG.note(number)


def install() -> None:
    """Handle all ENDING signals that are not ignored now. Only in the main thread."""
    handlers = {number: signal.getsignal(number) for number in ENDING}
    FLAG.replaced = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    FLAG.ignored = frozenset(number for number, handler in handlers.items() if handler is signal.SIG_IGN)
    FLAG.main = get_ident()
    for number in FLAG.replaced:
        signal.signal(number, record_signal)
    FLAG.terminals = tuple(stream for stream in STANDARD_STREAMS if os.isatty(stream))
    if not FLAG.hooked:
        os.register_at_fork(after_in_child=_forget)
        FLAG.hooked = True


def exit_if_code_set() -> None:
    """End the process if its exit code is settled. The interpreter is not shut down: threads of libraries may still
    run, and a gloo thread that releases a tensor during shutdown aborts the process (pytorch/pytorch#179291)."""
    if FLAG.code is None:
        return
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed, full or gone
            continue
    os._exit(FLAG.code)


def _forget() -> None:
    """A forked child does not record signals like its parent: it ignores IGNORED_BY_CHILDREN, and SIGTERM ends it."""
    if FLAG.permanent:
        signal.set_wakeup_fd(-1)
    before, FLAG.replaced, FLAG.permanent, FLAG.code = FLAG.replaced, {}, False, None
    FLAG.clear()
    for number in before:
        signal.signal(number, signal.SIG_IGN if number in IGNORED_BY_CHILDREN else signal.SIG_DFL)
