"""Heartbeats: what every rank of a run does, in RUN/heartbeats/rank-N.json, and what is made of them in a hang."""

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
from talkies.config.records import Kind, record
from talkies.config.shown import one_line

FOLDER, HANGS = "heartbeats", "hangs"
ENDED = "ended"
"""The phase of a rank whose training has ended, well or not."""
EVERY_S = 10.0
"""A rank that makes progress writes that often (more often where the watchdog's limits are shorter than a minute)."""
NAMED = 8
FAR = 250_000_000_000
"""Seconds since the epoch, in a year that calendars have."""


@record
class Beat:
    """`rank` is in `phase` since `seconds`, after `step` optimizer steps of the run. `moves` counts what it began and
    ended in this `attempt`: every rank does the same in the same order, so the one with the fewest is behind.
    `written` is the time of day."""

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
    """What was told of a hang, and when, in seconds since the epoch."""

    told: str
    at: Annotated[float, Field(ge=0, lt=FAR)]


BEAT = Kind(holds=Beat, about="run", remedy="remove it: it is of use while the run works")
HANG = Kind(holds=Hang, about="run", remedy="remove it")


def path_of(run: Path, rank: int) -> Path:
    """The heartbeat of a rank."""
    return run / FOLDER / f"rank-{rank}.json"


def write_beat(run: Path, beat: Beat) -> None:
    """Replace the heartbeat of a rank; OSError where it cannot. Not synced: it is of use for seconds only."""
    path = path_of(run, beat.rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(json.dumps(asdict(beat)))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_beats(run: Path, attempt: str | None = None) -> list[Beat]:
    """The heartbeats of `attempt` (None: the newest one that is there), by rank; those that cannot be read are left
    out."""
    found: list[Beat] = []
    for path in (run / FOLDER).glob("rank-*.json"):
        with suppress(DataError):
            found.append(BEAT.read(path))
    wanted = attempt or max((beat.attempt for beat in found), default="")
    return sorted((beat for beat in found if beat.attempt == wanted), key=lambda beat: beat.rank)


def behind(beats: Sequence[Beat]) -> list[Beat]:
    """Who is earliest in the order of work; everybody, where all have come equally far."""
    running = [beat for beat in beats if beat.phase != ENDED]
    fewest = min((beat.moves for beat in running), default=0)
    return [beat for beat in running if beat.moves == fewest]


def accused(beats: Sequence[Beat], size: int, every_s: float) -> str:
    """Which of `size` ranks is behind, where, for how long, and what the others do meanwhile. A rank whose heartbeat is
    older than three times `every_s` is stopped, or holds the interpreter's lock."""
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
    numbers = ", ".join(str(beat.rank) for beat in beats[:NAMED])
    return f"{'rank' if len(beats) == 1 else 'ranks'} {numbers}" + (" ..." if len(beats) > NAMED else "")


def _seconds(beat: Beat) -> float:
    return beat.seconds + beat.silent_s


def _place(beat: Beat) -> str:
    return f"in {beat.phase} after step {beat.step}"


def last_hang(run: Path, since_s: float = 0.0) -> str | None:
    """What was said of the last hang in the run's folder, and when; None of one before `since_s` (since the epoch)."""
    told = sorted((run / HANGS).glob("*.json"))
    with suppress(DataError):
        last = HANG.read(told[-1]) if told else None
        if last is not None and last.at >= since_s:
            return f"{datetime.fromtimestamp(last.at, UTC):%Y-%m-%d %H:%M} UTC: {one_line(last.told)}"
    return None


def pulse(run: Path) -> str | None:
    """How its ranks are, in a few words: who is behind, where, and when the last was heard of; None where none was."""
    beats = read_beats(run)
    if not behind(beats):
        return None
    late = behind(beats)[0]
    heard = min(beat.silent_s for beat in beats)
    rank = f", rank {late.rank} is behind" if len(behind(beats)) < len(beats) else ""
    return f"last heartbeat {heard:.0f} s ago: {late.phase} after step {late.step} for {late.seconds:.0f} s{rank}"
