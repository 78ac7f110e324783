"""Start the processes of a layout on this machine, if neither torchrun nor srun has started them."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from talkies.config.errors import HUNG, UserError
from talkies.launch.rendezvous import FIRST_PORT, PORTS
from talkies.signals.answer import claimed, listening, protected, received
from talkies.signals.children import end_with_parent, restore_default_handlers

GRACE_S = 60.0
"""How long the other processes may take to end after one has failed."""
HUNG_S = 3.0
"""The same after a watchdog has ended one: the others have their own, and a hanging process does not end by itself."""
LOOPBACK = ("lo", "lo0")
TRIES = 100


def launch(command: Sequence[str], count: int, *, grace_s: float = GRACE_S) -> int:
    """Run `command` as `count` processes of one world; returns the exit code of the first that failed, else 0.

    Signals to this process are forwarded. When one process fails, the others have `grace_s` seconds to end, then they
    are killed; they do not outlive this process.
    """
    port, processes = _free_port(), list["subprocess.Popen[bytes]"]()
    with listening(), claimed(), protected():
        try:
            for rank in range(count):
                # In a session of its own, so that Ctrl-C reaches it once, from here, and not from the terminal, too.
                options = {"env": _environment(rank, count, port), "start_new_session": True, "preexec_fn": _as_a_rank}
                processes.append(subprocess.Popen(list(command), **options))  # type: ignore[call-overload]
            return _wait(processes, grace_s)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _as_a_rank() -> None:
    """Runs in a forked child before it becomes a rank."""
    restore_default_handlers()
    end_with_parent()


def _wait(processes: Sequence["subprocess.Popen[bytes]"], grace_s: float) -> int:
    failed, since, forwarded = 0, 0.0, 0
    while True:
        new = received(forwarded)
        for process, number in ((process, number) for number in new for process in processes):
            if process.poll() is None:
                process.send_signal(number)
        forwarded += len(new)
        codes = [process.poll() for process in processes]
        first = next(((rank, code) for rank, code in enumerate(codes) if code), None)
        if first is not None and not failed:
            failed, since = first[1], time.monotonic()
            grace_s = min(grace_s, HUNG_S) if failed == HUNG else grace_s
            if failed < 0:
                name = signal.Signals(-failed).name
                why = " (out of memory?)" if -failed == signal.SIGKILL else ""
                print(f"talkies: rank {first[0]} was ended by {name}{why}; the others are stopped", file=sys.stderr)  # noqa: T201
        if None not in codes or (failed and time.monotonic() - since > grace_s):
            return failed if failed >= 0 else 128 - failed
        time.sleep(0.05)


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    defaults = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    for _, name in socket.if_nameindex():
        if name in LOOPBACK:  # gloo would look for this machine's address by its name, which may lead nowhere
            defaults["GLOO_SOCKET_IFNAME"] = name
    return {**defaults, **os.environ, **{key: str(value) for key, value in place.items()}, "MASTER_ADDR": "127.0.0.1"}


def _free_port() -> int:
    drawn = random.SystemRandom()  # another launcher on this machine must draw others
    for _ in range(TRIES):
        port = drawn.randrange(FIRST_PORT, FIRST_PORT + PORTS)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise UserError(
        f"parallel: none of {TRIES} ports from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free for the rendezvous of "
        "the ranks; start them with torchrun, which takes a port (--master-port)"
    )
