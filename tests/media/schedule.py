"""SVT-AV1 makes the thread that encodes, and so every process that it starts later, a real-time one (SCHED_FIFO)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_schedule() -> Iterator[None]:
    """What runs after it is scheduled as before: two spinning real-time processes starve a machine of two cores."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
