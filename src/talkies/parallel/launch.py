"""The processes of a layout on this machine, where neither torchrun nor srun has started them."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from types import FrameType

GRACE_S = 60.0
"""How long the others may take to end when one has failed."""


def launch(command: Sequence[str], count: int) -> int:
    """Run `command` as `count` processes of one world; the exit code of the first that failed, else 0.

    SIGINT and SIGTERM are passed on. When one fails, the others have GRACE_S seconds to end, then they are killed.
    """
    port = _free_port()
    # In a session of their own: a terminal's Ctrl-C reaches them once, from `forward`, and not a second time from it.
    processes = [
        subprocess.Popen(list(command), env=_environment(rank, count, port), start_new_session=True)
        for rank in range(count)
    ]

    def forward(number: int, _: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _wait(processes)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in processes:
            process.kill()
            process.wait()


def _wait(processes: Sequence["subprocess.Popen[bytes]"], now: Callable[[], float] = time.monotonic) -> int:
    failed, since = 0, 0.0
    while any(process.poll() is None for process in processes):
        codes = [process.returncode for process in processes if process.returncode]
        if codes and not failed:
            failed, since = codes[0], now()
        if failed and now() - since > GRACE_S:
            break
        time.sleep(0.05)
    failed = failed or next((process.returncode for process in processes if process.returncode), 0)
    return failed if failed >= 0 else 128 - failed


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    return {**threads, **os.environ, **{key: str(value) for key, value in own.items()}, "MASTER_ADDR": "127.0.0.1"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
