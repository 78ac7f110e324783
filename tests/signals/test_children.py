"""How children of `talkies` handle signals: workers outlast their parent's save, but never their parent."""

import os
import signal
import time
from pathlib import Path

import pytest
from programs import UNHURRIED, started

DEAF = [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


FORKS = """
from talkies.signals.children import *
here, there = os.pipe()
child = os.fork()
if child == 0:
    {what}
    os.write(there, b"!")
    time.sleep(200)
    os._exit(0)
os.read(here, 1)
ready()
print(child, flush=True)
with claimed():
    {wait}
{then}
sys.exit(set_exit_code(0))
"""


@pytest.mark.parametrize("numbers", [DEAF, [*DEAF, signal.SIGTERM]], ids=["forked", "worker"])
def test_a_child_ignores_signals_to_its_group(tmp_path: Path, numbers: list[signal.Signals]) -> None:
    """A worker ignores even SIGTERM, unless its parent sends it."""
    worker = signal.SIGTERM in numbers
    then = "os.kill(child, signal.SIGTERM); print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)"
    go = tmp_path / "go"
    wait = f"while not os.path.exists({str(go)!r}): time.sleep(0.01)"
    program = started(FORKS.format(what="only_from_parent()" if worker else "pass", wait=wait, then=then))
    assert program.stdout is not None
    child = int(program.stdout.readline())
    for number in numbers:
        os.kill(child, number)
    time.sleep(0.5)
    assert alive(child)
    go.touch()
    assert program.end()[:2] == (0, "0\n" if worker else f"{-signal.SIGTERM}\n")


def test_a_worker_does_not_outlive_its_parent() -> None:
    program = started(FORKS.format(what="only_from_parent()", wait="time.sleep(60)", then=""))
    assert program.stdout is not None
    child = int(program.stdout.readline())
    program.kill()
    program.end()
    assert gone(child)


def test_a_new_program_has_the_default_handlers() -> None:
    program = started("""
        import subprocess
        from talkies.signals.children import restore_default_handlers
        words = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_DFL)"]
        ready()
        sys.exit(subprocess.call(words, preexec_fn=restore_default_handlers))
        """)
    assert program.end() == (0, "True\n", "")


def test_a_program_that_is_started_deaf_receives_none_of_the_signals() -> None:
    body = """
        import subprocess
        from talkies.signals.children import children_ignore_signals
        words = [sys.executable, "-c", "import os; [os.kill(os.getpid(), n) for n in (1, 2, 10)]; print('deaf')"]
        ready()
        with children_ignore_signals():
            child = subprocess.Popen(words)
        child.wait()
        os.kill(os.getpid(), signal.SIGHUP)
        try:
            pause(5)
        except BaseException as error:
            print(error, flush=True)
        sys.exit(set_exit_code(7))
        """
    program = started(body, pace=UNHURRIED)
    assert program.end() == (7, "deaf\ninterrupted by SIGHUP\n", "")
