"""Run folders, RUNS/<name>-<recipe hash>/<number>/, and their locks."""

import fcntl
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from talkies.config import UserError
from talkies.config.records import open_ours, present
from talkies.files.durable import storage_errors
from talkies.signals.answer import pause

LOCK, TRIES = ".lock", 100
TURN_S = 120.0
"""How long to wait for a turn: a promotion sends its release to a server."""


class RunLockedError(UserError):
    """Another process holds this run folder."""

    exit_code = 75


def finished(folder: Path) -> bool:
    """Whether the run in `folder` is complete: result.json is written last."""
    return present(folder / "result.json")


def numbered(home: Path) -> list[Path]:
    """The runs of a recipe, all in its folder `home`, the oldest first."""
    return sorted(path for path in home.glob("*") if re.fullmatch(r"\d{4}", path.name)) if home.is_dir() else []


def run_in(home: Path, *, new: bool) -> Path:
    """The newest run in `home`, or with `new` (or if there is none) the folder of the next number, which is not made
    here."""
    runs = numbered(home)
    return runs[-1] if runs and not new else home / f"{(int(runs[-1].name) if runs else 0) + 1:04d}"


def wait_unlocked(folder: Path, seconds: float) -> None:
    """Return once the folder is unlocked, or after `seconds`: the previous attempt may still be ending."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with locked(folder):
                return
        except RunLockedError:
            pause(1)


@contextmanager
def locked(
    folder: Path, *, hint: str = "or use --new", shared: bool = False, traceless: bool = False
) -> Iterator[None]:
    """Lock the folder, which is made if it is missing. RunLockedError names the process that holds it, and `hint` says
    what to do instead of waiting. The lock ends with its process. `shared`: several processes may hold it at once.

    Folders made here are removed afterwards if they are still empty; the lock file too, or always if `traceless`."""
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    with _acquired(folder, hint, shared=shared) as handle:
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        try:
            yield
        finally:
            empty = bool(new_folders) and not shared and [path.name for path in folder.glob("*")] == [LOCK]
            if empty or traceless:
                # Removed while locked: a process that has opened the file meanwhile detects it in `_same_file`.
                (folder / LOCK).unlink()
            if empty:
                _remove_empty(new_folders)


@contextmanager
def in_turn(folder: Path, *, hint: str) -> Iterator[None]:
    """Lock the folder as `locked` does, but wait up to TURN_S for another holder, and leave no lock file.
    Raises RunLockedError after that time, StorageError if the folder cannot be written."""
    end = time.monotonic() + TURN_S
    with ExitStack() as locks:
        while True:
            try:
                with storage_errors(folder, 0):
                    locks.enter_context(locked(folder, hint=hint, traceless=True))
                break
            except RunLockedError:
                if time.monotonic() >= end:
                    raise
            pause(0.1)
        yield


def _acquired(folder: Path, hint: str, *, shared: bool) -> TextIO:
    """The folder's lock file: made, opened and locked. Between these steps another process may remove it."""
    for tries_left in reversed(range(TRIES)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.fdopen(open_ours(folder / LOCK, os.O_RDWR | os.O_APPEND), "a+")
        except (FileNotFoundError, FileExistsError):
            if not tries_left:
                raise
            continue
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if _same_file(handle, folder / LOCK):
                return handle
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            handle.close()
            raise RunLockedError(f"run: {folder} is in use by process {holder}; wait for it, {hint}") from None
        handle.close()
    raise RunLockedError(
        f"run: other processes made and removed {folder} each time it was to be locked; wait for them, {hint}"
    )


def _same_file(handle: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """After the block, `folder` and those above it are removed if they were not there before and nothing is in them."""
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        _remove_empty(new_folders)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, until one is not empty."""
    for path in folders:
        try:
            path.rmdir()
        except OSError:
            return
