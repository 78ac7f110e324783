"""Heartbeats: what every rank of a run is doing, in RUN/heartbeats/rank-N.json, and which rank a hang is blamed on."""

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field

from talkies.config import DataError
from talkies.config.numbers import Natural, NonNegative
from talkies.config.quoting import one_line
from talkies.config.records import Kind, record

FOLDER, HANGS = "heartbeats", "hangs"
ENDED = "ended"
"""The `phase` of a rank whose training has ended, with or without an error."""
EVERY_S = 10.0
"""How often a rank that makes progress writes (more often if a limit of the watchdog is shorter than 40 s)."""
MAX_NAMED = 8
FAR = 250_000_000_000
"""Seconds since the epoch; datetime can represent all times before this one."""


@record
class Beat:
    """`rank` has been in `phase` for `seconds`, after `step` optimizer steps of the run. `moves` counts the actions
    begun or ended in this `attempt`: all ranks do the same in the same order, so the one with the fewest is behind.
    `written`: seconds since the epoch."""

    rank: Natural
    attempt: str
    phase: str
    step: Natural
    moves: Natural
    seconds: NonNegative
    written: float
    pid: Natural

    @property
    def silent_s(self) -> float:
        """Seconds since it was written."""
        return max(0.0, time.time() - self.written)


@record
class Hang:
    """The line that reported a hang (`told`), and when (`at`), in seconds since the epoch."""

    told: str
    at: Annotated[float, Field(ge=0, lt=FAR)]


BEAT = Kind(holds=Beat, about="run", remedy="remove it: it is needed only while the run works")
HANG = Kind(holds=Hang, about="run", remedy="remove it")


def path_of(run: Path, rank: int) -> Path:
    """The heartbeat of a rank."""
    return run / FOLDER / f"rank-{rank}.json"


def write_beat(run: Path, beat: Beat) -> None:
    """Replace the heartbeat of a rank; raises OSError. Not synced: it is of use for seconds only."""
    path = path_of(run, beat.rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(json.dumps(asdict(beat)))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_beats(run: Path, attempt: str | None = None) -> list[Beat]:
    """The heartbeats of `attempt` (None: the newest one), sorted by rank; unreadable ones are left out."""
    beats: list[Beat] = []
    for path in (run / FOLDER).glob("rank-*.json"):
        with suppress(DataError):
            beats.append(BEAT.read(path))
    wanted = attempt or max((beat.attempt for beat in beats), default="")
    return sorted((beat for beat in beats if beat.attempt == wanted), key=lambda beat: beat.rank)


def behind(beats: Sequence[Beat]) -> list[Beat]:
    """The ranks that have made the fewest moves; all ranks if they are equally far."""
    running = [beat for beat in beats if beat.phase != ENDED]
    fewest = min((beat.moves for beat in running), default=0)
    return [beat for beat in running if beat.moves == fewest]


def describe_hang(beats: Sequence[Beat], size: int, every_s: float) -> str:
    """Which of `size` ranks is behind, where, for how long, and what the others do. A rank whose heartbeat is older
    than three times `every_s` is stopped, or holds the interpreter's lock."""
    late = behind(beats)
    if not late:
        return "no rank moves, and which one is behind is not known: no heartbeat can be read"
    names = f"{_ranks(late)} of {size}" if size > 1 else "the process"
    text = f"{names} {'have' if len(late) > 1 else 'has'} been {_place(late[0])} for {_seconds(late[0]):.0f} s"
    mute = [beat for beat in late if beat.silent_s > 3 * every_s + 1]
    if mute:
        text += f", as far as is known (no heartbeat for {mute[0].silent_s:.0f} s: stopped, or it holds Python's lock)"
    others = [beat for beat in beats if beat not in late and beat.phase != ENDED]
    if others:
        text += f"; the others wait, {_ranks(others[:1])} {_place(others[0])}"
    elif size > 1:
        text += "; no rank is further: they wait for each other, or for what all of them use"
    return text


def _ranks(beats: Sequence[Beat]) -> str:
    numbers = ", ".join(str(beat.rank) for beat in beats[:MAX_NAMED])
    return f"{'rank' if len(beats) == 1 else 'ranks'} {numbers}" + (" ..." if len(beats) > MAX_NAMED else "")


def _seconds(beat: Beat) -> float:
    return beat.seconds + beat.silent_s


def _place(beat: Beat) -> str:
    return f"in {beat.phase} after step {beat.step}"


def last_hang(run: Path, since_s: float = 0.0) -> str | None:
    """When the last hang in the run's folder happened, and its line; None if none has since `since_s` (epoch)."""
    reports = sorted((run / HANGS).glob("*.json"))
    with suppress(DataError):
        last = HANG.read(reports[-1]) if reports else None
        if last is not None and last.at >= since_s:
            return f"{datetime.fromtimestamp(last.at, UTC):%Y-%m-%d %H:%M} UTC: {one_line(last.told)}"
    return None


def pulse(run: Path) -> str | None:
    """A summary of the ranks: which one is behind, where, and the age of the newest heartbeat; None if no rank runs."""
    beats = read_beats(run)
    if not behind(beats):
        return None
    late = behind(beats)[0]
    heard = min(beat.silent_s for beat in beats)
    rank = f", rank {late.rank} is behind" if len(behind(beats)) < len(beats) else ""
    return f"last heartbeat {heard:.0f} s ago: {late.phase} after step {late.step} for {late.seconds:.0f} s{rank}"
