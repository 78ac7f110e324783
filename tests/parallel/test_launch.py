"""Launched processes end together, whichever of them ends first, and never outlive their launcher."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from talkies.config import UserError
from talkies.launch.rendezvous import FIRST_PORT, PORTS
from talkies.parallel.launch import _free_port, launch

RANK = "import os, sys, time; rank = int(os.environ['RANK']); "


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_the_first_failure_is_the_exit_code_and_ends_the_others(failing: int) -> None:
    began = time.monotonic()
    program = RANK + f"sys.exit(3) if rank == {failing} else time.sleep(60)"
    assert launch([sys.executable, "-c", program], 3, grace_s=0.5) == 3
    assert time.monotonic() - began < 50


def test_a_killed_rank_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    program = RANK + "os.kill(os.getpid(), 9) if rank == 1 else time.sleep(60)"
    assert launch([sys.executable, "-c", program], 2, grace_s=0.5) == 128 + 9
    assert "rank 1 was ended by SIGKILL (out of memory?)" in capfd.readouterr().err


def test_success_is_zero_and_every_rank_knows_its_place(tmp_path: Path) -> None:
    program = RANK + f"open(f'{tmp_path}/{{rank}}', 'w').write(os.environ['WORLD_SIZE'] + os.environ['MASTER_PORT'])"
    assert launch([sys.executable, "-c", program], 3) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    assert len({path.read_text() for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_no_rank_outlives_the_launcher(tmp_path: Path, number: signal.Signals) -> None:
    program = RANK + f"open(f'{tmp_path}/{{rank}}', 'w').write(str(os.getpid())); time.sleep(60)"
    starting = f"import sys; from talkies.parallel.launch import launch; launch([sys.executable, '-c', {program!r}], 2)"
    launcher = subprocess.Popen([sys.executable, "-c", starting])
    while len([path for path in tmp_path.iterdir() if path.read_text()]) < 2:
        assert launcher.poll() is None
        time.sleep(0.05)
    pids = [int(path.read_text()) for path in tmp_path.iterdir()]
    launcher.send_signal(number)
    launcher.wait(timeout=50)
    deadline = time.monotonic() + 50
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "an orphan keeps training"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


@contextmanager
def taken_port() -> Iterator[int]:
    """A port at which this process listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", port := _free_port()))
        other.listen()
        yield port


def test_ranks_meet_at_a_free_port_that_no_connection_is_given_and_on_the_loopback_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that is taken is passed over; the variables that a user has set stay."""
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    names = ["MASTER_ADDR", "MASTER_PORT", "GLOO_SOCKET_IFNAME", "OMP_NUM_THREADS"]
    program = RANK + f"open(f'{tmp_path}/{{rank}}', 'w').write(' '.join(os.environ[name] for name in {names}))"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with taken_port() as taken:
        ports = iter([taken, free := _free_port()])
        monkeypatch.setattr("random.SystemRandom.randrange", lambda *_: next(ports))
        assert launch([sys.executable, "-c", program], 2) == 0
    (found,) = {path.read_text() for path in tmp_path.iterdir()}
    address, port, interface, threads = found.split()
    assert (address, interface, threads) == ("127.0.0.1", "lo", "7")
    assert FIRST_PORT <= int(port) == free < FIRST_PORT + PORTS


def test_no_free_port_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with taken_port() as taken:
        monkeypatch.setattr("random.SystemRandom.randrange", lambda *_: taken)
        with pytest.raises(UserError, match=r"none of 100 ports from 20000 to 31999 is free .* torchrun"):
            launch(["true"], 2)
