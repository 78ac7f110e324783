"""Two ranks under a watchdog, as a program: python watched_rank.py RUN HOW LATER_S; it starts two of itself.

Rank 0 waits for rank 1 in a collective, as in a backward pass; rank 1 first does what HOW says.
"""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar

from talkies.parallel.launch import launch


def slept() -> None:
    """Hang with the interpreter's lock free."""
    time.sleep(600)


def locked() -> None:
    """Hang with the interpreter's lock held."""
    ctypes.PyDLL(None).sleep(600)


def stopped() -> None:
    """Be stopped by a signal."""
    os.kill(os.getpid(), signal.SIGSTOP)


def slow() -> None:
    """Wait for 0.6 of the limit, which is no hang."""
    time.sleep(0.6 * float(sys.argv[3]))


def main() -> None:
    """The program of both ranks."""
    from lightning import Callback

    from talkies.launch.job import this_job
    from talkies.parallel.mesh import start
    from talkies.parallel.ranks import Ranks
    from talkies.parallel.world import world_of
    from talkies.resilience.activity import VALIDATION, Activity
    from talkies.resilience.config import WatchdogConfig
    from talkies.resilience.watchdog import Watchdog

    class Declared(Callback):
        activities: ClassVar = {"on_train_batch_end": VALIDATION}

    world = world_of()
    job = this_job(main=world.main)
    start(world)
    ranks, work, run = Ranks(world), Activity(), Path(sys.argv[1])
    declared = Declared()
    work.follow([declared])
    config = WatchdogConfig(first_s=60.0, later_s=float(sys.argv[3]))
    with Watchdog(config, run, work, ranks, None if job is None else job.requeue_hung):
        work.at(5, stepped=True)
        time.sleep(config.later_s / 2)  # a heartbeat
        ranks.gather(None)
        for action in ("[Strategy]DDPStrategy.training_step", f"[Callback]{declared.state_key}.on_train_batch_end"):
            with work.profile(action):
                if world.rank == 1:
                    run.joinpath("began").write_text(str(time.time()))
                    globals()[sys.argv[2]]()
            with work.profile("[Strategy]DDPStrategy.backward"):
                ranks.gather(None)


if __name__ == "__main__":
    if "RANK" in os.environ:
        main()
    else:
        sys.exit(launch([sys.executable, *sys.argv], 2))
