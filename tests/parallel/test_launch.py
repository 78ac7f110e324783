"""Launched processes end together, whichever of them ends first, and never outlive their launcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from talkies.parallel.launch import launch

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
    launcher.wait(timeout=30)
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
