"""A signal ends the process with one line, whatever the process is doing, unless the signal is handled."""

import os
import signal
import time
from pathlib import Path

import pytest
from programs import UNHURRIED, started

INT, TERM, HUP, USR1 = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1
LIMIT_S = 5.0
PLACES = {
    "a system call that continues": "ready(); time.sleep(60)",
    "a __del__": """
        class Long:
            def __del__(self):
                ready()
                while True: pass
        long = Long()
        del long
        """,
    "an import": """
        import importlib.abc, importlib.util
        class Slow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
            def find_spec(self, name, path, target=None):
                return importlib.util.spec_from_loader(name, self) if name == "slow" else None
            def exec_module(self, module):
                ready()
                while True: pass
        sys.meta_path.insert(0, Slow())
        try:
            import slow
        except ImportError:
            pass
        """,
    "a lock": "lock = threading.Lock(); lock.acquire(); ready(); lock.acquire()",
    "what catches all": """
        ready()
        while True:
            try:
                pause(60)
            except BaseException:
                pass
        """,
}


@pytest.mark.parametrize("place", PLACES)
def test_an_unhandled_signal_ends_the_process(place: str) -> None:
    program = started(PLACES[place])
    program.send(TERM)
    assert program.end() == (130, "", "talkies: interrupted by SIGTERM\n")


def test_an_unhandled_signal_takes_less_than_five_seconds() -> None:
    """The fastest of three tries: the machine may be busy."""
    taken: list[float] = []
    while len(taken) < 3 and min(taken, default=LIMIT_S) >= LIMIT_S:
        program = started("ready(); time.sleep(60)", pace=1)
        began = time.monotonic()
        program.send(TERM)
        assert program.end() == (130, "", "talkies: interrupted by SIGTERM\n")
        taken.append(time.monotonic() - began)
    assert min(taken) < LIMIT_S, taken


@pytest.mark.parametrize("number", [INT, TERM, HUP, USR1])
def test_a_process_that_looks_ends_its_own_way(number: signal.Signals) -> None:
    body = """
        ready()
        try:
            pause(60)
        except BaseException as error:
            check_signal()  # it raises once only: cleaning up is not disturbed
            print(error, flush=True)
            sys.exit(set_exit_code(7))
        """
    program = started(body, pace=UNHURRIED)
    program.send(number)
    assert program.end() == (7, f"interrupted by {number.name}\n", "")


CLAIMS = """
with claimed():
    ready()
    while not os.path.exists({sent!r}): time.sleep(0.01)
    time.sleep(1)
    print(signal_name(), flush=True)
    mark_handled()
sys.exit(set_exit_code(7))
"""


@pytest.mark.parametrize(
    ("numbers", "name"),
    [([TERM], "SIGTERM"), ([INT, INT, INT, TERM], "SIGTERM"), ([INT, INT, INT], "SIGINT"), ([USR1, TERM], "SIGTERM"),
     ([TERM, USR1], "SIGTERM"), ([HUP, HUP], "SIGHUP")],
)  # fmt: skip
def test_claimed_signals_are_handled_without_a_time_limit(tmp_path: Path, numbers: list[int], name: str) -> None:
    sent = tmp_path / "sent"
    program = started(CLAIMS.format(sent=str(sent)), AGAIN_S=60)  # one Ctrl-C, however slow the machine is
    program.send(*numbers)
    sent.touch()
    assert program.end() == (7, f"{name}\n", "")


def test_a_second_ctrl_c_ends_at_once_but_a_protected_block_is_finished() -> None:
    program = started("""
        def save():
            with protected():
                ready()
                time.sleep(1.5)
                print("saved", flush=True)
        with claimed():
            threading.Thread(target=save).start()
            time.sleep(60)
        """)
    while program.poll() is None:
        program.send(INT, apart_s=0.5)
    assert program.end() == (130, "saved\n", "talkies: interrupted by SIGINT\n")


def test_actions_before_the_end_are_called_and_cannot_delay_it() -> None:
    body = """
        with before_end(lambda: print("called", flush=True)), before_end(lambda: time.sleep(60)):
            ready()
            time.sleep(60)
        """
    program = started(body, ACT_S=5)  # so that the first is called on a busy machine, too
    program.send(TERM)
    assert program.end() == (130, "called\n", "talkies: interrupted by SIGTERM\n")


def test_a_job_is_preempted_only_once_it_can_requeue_itself() -> None:
    program = started(
        """
        ready()
        time.sleep(1)
        requeue_by(lambda: print("queued again", flush=True))
        time.sleep(60)
        """,
        environment={"TALKIES_REQUEUE": "1"},
    )
    program.send(USR1)
    assert program.end() == (0, "queued again\n", "")


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_first_of_several_processes_prints_the_line(rank: str) -> None:
    program = started("ready(); time.sleep(60)", environment={"RANK": rank})
    program.send(TERM)
    assert program.end() == (130, "", "talkies: interrupted by SIGTERM\n" if rank == "0" else "")


@pytest.mark.parametrize("number", [INT, TERM, HUP, USR1])
def test_a_signal_that_is_ignored_at_the_start_stays_ignored(number: signal.Signals) -> None:
    """As under nohup, or in the background of a shell script."""
    program = started("ready(); pause(0.5); sys.exit(set_exit_code(7))", ignored=[number])
    program.send(number)
    assert program.end() == (7, "", "")


def test_a_signal_does_not_change_a_settled_exit_code() -> None:
    program = started("""
        import atexit
        atexit.register(lambda: (ready(), time.sleep(1)))
        sys.exit(set_exit_code(7))
        """)
    program.send(INT, INT, INT, TERM)
    assert program.end() == (7, "", "")


def test_the_interpreter_is_not_shut_down() -> None:
    """A gloo thread may release a tensor during shutdown, which aborts the process. `atexit` functions still run."""
    body = """
        import atexit
        class Tensor:
            def __del__(self): os.abort()
        tensor = Tensor()
        atexit.register(print, "registered")
        thread = threading.Thread(target=lambda: (time.sleep(0.2), print("waited for")))
        ready()
        print("unflushed", end=" ")
        thread.start()
        sys.exit(set_exit_code(7))
        """
    program = started(body, environment={"PYTHONUNBUFFERED": ""})  # so that there is unflushed output
    assert program.end() == (7, "unflushed waited for\nregistered\n", "")


def test_writing_to_a_terminal_that_is_gone_is_no_error() -> None:
    """The kernel sends SIGHUP to the session's leader; what the process prints afterwards is dropped."""
    body = """
        import fcntl, termios
        os.setsid()
        fcntl.ioctl(os.open(os.environ["TERMINAL"], os.O_RDWR), termios.TIOCSCTTY, 0)
        terminal = os.open(os.environ["TERMINAL"], os.O_RDWR)
        os.dup2(terminal, 2)
        from talkies.signals.flag import FLAG
        FLAG.terminals = (2,)
        with claimed():
            ready()
            while signal_name() is None: time.sleep(0.01)
            print("x" * 100_000, file=sys.stderr, flush=True)
            mark_handled()
        print(signal_name(), flush=True)
        sys.exit(set_exit_code(7))
        """
    parent_end, child_end = os.openpty()
    program = started(body, environment={"TERMINAL": os.ttyname(child_end)})
    os.close(child_end)
    os.close(parent_end)
    assert program.end()[:2] == (7, "SIGHUP\n")
