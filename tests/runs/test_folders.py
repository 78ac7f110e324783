"""A lock leaves no files if nothing was done under it, and two processes never hold it at once."""

import fcntl
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TextIO

import pytest

from talkies.config import DataError
from talkies.runs.folders import RunLockedError, in_turn, locked, removed_if_empty


def test_a_run_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "toy-12345678" / "0001"
    with pytest.raises(ValueError, match="refused"), locked(folder):
        raise ValueError("refused")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_empty_or_was_there_before_stays(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "recipe.json").touch()
    (tmp_path / "c").mkdir()
    with locked(tmp_path / "c"):
        pass
    with locked(tmp_path / "d", shared=True):
        pass
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "a", "a/b", "a/b/.lock", "a/b/recipe.json", "c", "c/.lock", "d", "d/.lock",
    ]  # fmt: skip


ENOUGH, PATIENCE_S = 12, 120


def works(folder: Path, inside: Path, all_there: Barrier, pipe: Connection) -> None:
    """Compete for the lock until it was held ENOUGH times. Sends how often it was held, and how often another process
    held it at the same time."""
    held = clashes = 0
    all_there.wait(PATIENCE_S)
    end = time.monotonic() + PATIENCE_S
    while held < ENOUGH and time.monotonic() < end:
        try:
            with locked(folder):
                held += 1
                try:
                    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                    inside.unlink()
                except FileExistsError:
                    clashes += 1
        except RunLockedError:
            time.sleep(0.001)  # leaves the processor to the process that holds the lock
    pipe.send((held, clashes))


def test_two_never_hold_it_although_each_removes_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ends, processes, all_there = [], [], context.Barrier(3)
    for _ in range(3):
        mine, theirs = context.Pipe()
        ends.append(mine)
        arguments = (tmp_path / "runs" / "0001", tmp_path / "inside", all_there, theirs)
        processes.append(context.Process(target=works, args=arguments))
    for process in processes:
        process.start()
    found = [end.recv() for end in ends]
    for process in processes:
        process.join(200)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [held for held, _ in found] == [ENOUGH] * 3
    assert sum(clashes for _, clashes in found) == 0


def test_a_lock_file_that_vanished_before_it_was_locked_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The previous holder removes the file after it was opened and before it is locked."""
    folder, real = tmp_path / "runs" / "0001", fcntl.flock
    calls: list[int] = []

    def flock(handle: TextIO, how: int) -> None:
        calls.append(how)
        if len(calls) == 1:
            with locked(folder):
                pass
            shutil.rmtree(folder)  # before the next try, which makes it again
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(folder):
        assert (folder / ".lock").exists()
        with pytest.raises(RunLockedError), locked(folder):
            pass
    assert len(calls) == 4


def test_a_turn_waits_for_the_lock_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()

    def second() -> None:
        theirs.send("waits")
        with in_turn(tmp_path / "shelf", hint=""):
            theirs.send((tmp_path / "shelf" / "first").exists())

    with in_turn(tmp_path / "shelf", hint=""):
        child = context.Process(target=second)
        child.start()
        assert mine.recv() == "waits"
        assert not mine.poll(0.3)
        (tmp_path / "shelf" / "first").touch()
    assert mine.recv() is True
    child.join(200)
    assert [path.name for path in (tmp_path / "shelf").iterdir()] == ["first"]


def test_a_turn_that_does_not_come_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talkies.runs.folders.TURN_S", 0.1)
    message = f"in use by process {os.getpid()}; wait for it, x"
    with locked(tmp_path), pytest.raises(RunLockedError, match=message), in_turn(tmp_path, hint="x"):
        pass
    with in_turn(tmp_path / "new" / "shelf", hint="x"):
        pass
    assert not (tmp_path / "new").exists()


@pytest.mark.fault("g", "two runs in one directory", injected="a second process wants the run folder of a first")
def test_the_second_run_in_a_folder_is_refused(tmp_path: Path, record_outcome: Callable[..., None]) -> None:
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()

    def second() -> None:
        try:
            with locked(tmp_path / "run"):
                theirs.send("held")
        except RunLockedError as error:
            theirs.send(f"{error.exit_code} {error}")

    with locked(tmp_path / "run"):
        (tmp_path / "run" / "recipe.json").touch()
        child = context.Process(target=second)
        child.start()
        answer = mine.recv()
        child.join(200)
    assert answer.startswith(f"75 run: {tmp_path / 'run'} is in use by process {os.getpid()}; wait for it")
    record_outcome("exit 75 names the process that works there", steps_lost=0)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_a_lock_that_is_not_a_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / ".lock")
    with pytest.raises(DataError, match=r"cannot open .*\.lock: it is a (named pipe|folder)"), locked(tmp_path):
        pass


def refused(folder: Path, *, content: bool) -> None:
    with removed_if_empty(folder):
        folder.mkdir(parents=True)
        if content:
            (folder / "file").touch()
        raise ValueError("refused")


def test_folders_in_which_nothing_came_are_removed_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name, content in (("there/new/runs", False), ("full", True)):
        with pytest.raises(ValueError, match="refused"):
            refused(tmp_path / name, content=content)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "there"]
    with removed_if_empty(tmp_path / "there"):
        assert (tmp_path / "there").is_dir()
    assert (tmp_path / "there").is_dir(), "it was there before"
