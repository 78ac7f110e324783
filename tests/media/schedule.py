"""SVT-AV1 makes the encoding thread real-time (SCHED_FIFO), and so every process that it starts later."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_schedule() -> Iterator[None]:
    """Restore the scheduling policy afterwards: two spinning real-time processes starve a machine of two cores."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
