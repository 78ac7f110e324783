"""Paths in the records of a run. A path within the same runs folder is written relative to the record's folder, so that
a runs folder still works after it was moved or copied; all other paths are absolute.

A record also names the folder in which it was written, for a run that is moved out of its runs folder. Records of
older versions hold absolute paths: if such a path no longer exists, or leads to the runs folder that this one was
copied from, the same place in the run's own runs folder is used.
"""

import os
import re
from pathlib import Path

from talkies.config.regular_files import resolved

SQLITE = "sqlite:///"
_HASHED = re.compile(r".+-[0-9a-f]{8}")
_NUMBER = re.compile(r"\d{4,}")
_PHASE = re.compile(r"\d+-.+")
INSIDE = ("release", "checkpoints")


def runs_of(folder: Path) -> Path | None:
    """RUNS for a folder RUNS/NAME-HASH/NUMBER, a phase NUMBER-PHASE within it, and folders inside these; else None."""
    whole = resolved(folder)
    for path in (whole, *whole.parents[:3]):
        if _NUMBER.fullmatch(path.name) and _HASHED.fullmatch(path.parent.name):
            between = whole.relative_to(path).parts
            known = not between or _PHASE.fullmatch(between[0]) or between[0] in INSIDE
            return path.parents[1] if known else None
    return None


def kept(path: Path, folder: Path, *, runs: Path | None = None) -> str:
    """`path` as a record in `folder` stores it: relative if both lie in the same `runs` folder (default: its own)."""
    whole, root = resolved(path), resolved(runs or runs_of(folder) or Path(os.devnull))
    return os.path.relpath(whole, resolved(folder)) if whole.is_relative_to(root) else str(whole)


def opened(text: str, folder: Path, *, written_in: str | None = None) -> Path:
    """The absolute path that `text`, from a record in `folder`, leads to; `written_in`: the folder in which the record
    says it was written. The path need not exist: then it is the expected one."""
    here = Path(os.path.normpath(resolved(folder) / text))
    if not Path(text).is_absolute():
        if written_in is None or here.exists():
            return here
        there = Path(os.path.normpath(Path(written_in) / text))
        return there if there.exists() else here
    return moved(Path(text), folder) or Path(text)


def moved(path: Path, folder: Path) -> Path | None:
    """Where `path` is now, if the runs folder that contains the run `folder` was moved, or copied from where `path` is:
    the longest end of `path` that exists there. None if there is none, or if `path` is still right."""
    runs = runs_of(folder)
    if runs is None:
        return None
    run = resolved(folder).relative_to(runs)
    for number in range(1, len(path.parts)):
        before, candidate = Path(*path.parts[:number]), runs / Path(*path.parts[number:])
        if resolved(before) == runs or not candidate.exists():
            continue
        copied = (before / run).exists()  # the original run still exists
        if copied or not path.exists():
            return candidate
    return None


def looked_for(path: Path, folder: Path) -> str:
    """For a message: where `path` was looked for, for a run in `folder`."""
    runs = runs_of(folder)
    inside = runs is not None and path.is_relative_to(runs)
    return str(path) if inside or runs is None else f"{path}, or an end of that path in {runs}"


def kept_uri(uri: str, folder: Path, *, runs: Path | None = None) -> str:
    """Like `kept`, for a tracking URI: the path of a SQLite file may become relative."""
    file = uri.removeprefix(SQLITE)
    if not uri.startswith(SQLITE) or not Path(file).is_absolute():
        return uri
    return f"{SQLITE}{kept(Path(file), folder, runs=runs)}"


def opened_uri(uri: str, folder: Path, *, written_in: str | None = None) -> str:
    """Like `opened`, for a tracking URI. One that older versions wrote may be relative to the working directory."""
    file = uri.removeprefix(SQLITE)
    if not uri.startswith(SQLITE):
        return uri
    path = opened(file, folder, written_in=written_in)
    if not Path(file).is_absolute() and not path.exists() and Path(file).exists():
        path = Path(file).absolute()
    return f"{SQLITE}{path}"


def absolute_uri(uri: str) -> str:
    """A tracking URI whose SQLite file does not depend on the working directory."""
    file = uri.removeprefix(SQLITE)
    return f"{SQLITE}{Path(file).absolute()}" if uri.startswith(SQLITE) and file else uri
