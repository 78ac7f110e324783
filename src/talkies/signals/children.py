"""What processes that this one starts make of signals.

A terminal sends Ctrl-C and its own end to all of them, and Slurm its signals, too: who works for a process must not die
before that has saved. Such children end with, or by, their parent.
"""

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from talkies.signals.flag import DEAF, FLAG

PR_SET_PDEATHSIG = 1


def hear_as_a_program() -> None:
    """In a forked child that is about to become another program: the handlers of a program that starts."""
    for number in DEAF:
        if number not in FLAG.ignored:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def deaf() -> Iterator[None]:
    """Programs that are started within the block, and their children, never hear DEAF."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """In a child: SIGTERM when its parent is gone (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end_with_starter() -> None:
    """In a worker that a fork server made, and whose parent is that server: it ends when the process that started it is
    gone, however that ended."""
    starter = multiprocessing.parent_process()
    assert starter is not None

    def follow() -> None:
        starter.join()
        os._exit(0)

    threading.Thread(target=follow, daemon=True, name="starter").start()


def only_from_parent(_: int = 0) -> None:
    """In a worker: SIGTERM ends it only where its parent sends it. Whoever ends a job tells all its processes, and the
    parent needs its workers until it has saved. Takes a worker's number, as loaders call it."""
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # before there is another thread

    def obey() -> None:
        while signal.sigwaitinfo([signal.SIGTERM]).si_pid not in (parent, os.getppid(), 0):
            pass
        os._exit(0)

    threading.Thread(target=obey, daemon=True, name="signals").start()
    end_with_parent()
