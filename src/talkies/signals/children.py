"""How child processes handle signals.

A terminal sends SIGINT and SIGHUP to all processes of a job, and so does Slurm with its signals: a worker must not die
before its parent has saved. Such children end together with their parent, or when it ends them.
"""

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from talkies.signals.flag import FLAG, IGNORED_BY_CHILDREN

PR_SET_PDEATHSIG = 1


def restore_default_handlers() -> None:
    """In a forked child that is about to become another program: restore the default handlers."""
    for number in IGNORED_BY_CHILDREN:
        if number not in FLAG.ignored:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def children_ignore_signals() -> Iterator[None]:
    """Programs started within the block, and their children, never receive the signals in IGNORED_BY_CHILDREN."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_BY_CHILDREN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """In a child: request SIGTERM for the moment when its parent is gone (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end_with_starter() -> None:
    """In a worker of a fork server, which is its parent: end when the process that requested the worker is gone,
    however it ended."""
    starter = multiprocessing.parent_process()
    assert starter is not None

    def follow() -> None:
        starter.join()
        os._exit(0)

    threading.Thread(target=follow, daemon=True, name="starter").start()


def only_from_parent(_: int = 0) -> None:
    """In a worker: only the parent's SIGTERM ends it. A scheduler signals all processes of a job, and the parent needs
    its workers until it has saved. The argument is the worker's number that data loaders pass."""
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # before there is another thread

    def obey() -> None:
        while signal.sigwaitinfo([signal.SIGTERM]).si_pid not in (parent, os.getppid(), 0):
            pass
        os._exit(0)

    threading.Thread(target=obey, daemon=True, name="signals").start()
    end_with_parent()
