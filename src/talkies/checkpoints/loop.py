"""loop.json of a checkpoint: counters, the position in the data, and the guard's state."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from talkies.checkpoints.manifest import verify
from talkies.config import CheckpointError
from talkies.config.numbers import Natural
from talkies.config.records import Integer, Kind, Name, record

LOOP = "loop.json"


def _rising(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[0] >= pair[1]:
        raise ValueError("[start, stop] with start < stop")
    return pair


Range = Annotated[tuple[Natural, Natural], AfterValidator(_rising)]
"""[start, stop), not empty."""


@record
class DataRecord:
    """A run's position in its stream of samples, and the data and seed that determine the stream."""

    consumed: Natural
    passed: tuple[Range, ...]
    quarantined: tuple[Name, ...]
    clips: Natural
    fingerprint: Name
    seed: Integer


@record
class SkippedRecord:
    """An optimizer step that was not made."""

    step: Natural
    kind: Name
    what: str


@record
class GuardRecord:
    """The state of the guard. `good`: by turn, the (loss, gradient norm) pairs by which spikes are measured."""

    good: dict[str, tuple[tuple[float, float], ...]]
    skipped: tuple[SkippedRecord, ...]


@record
class LoopRecord:
    """loop.json. `recipe`: the recipe hash of the run."""

    step: Natural
    recipe: str | None
    ema_updates: Natural
    data: DataRecord
    guard: GuardRecord


RECORD = Kind(
    holds=LoopRecord, about="checkpoint", remedy="restore it from a copy", error=CheckpointError, limit=1 << 28
)


def read_loop(folder: Path) -> dict[str, Any]:
    """The loop's part of a state, with every key of a LoopRecord. Raises CheckpointError if loop.json is missing or
    damaged, or if its step is not the manifest's."""
    manifest = verify(folder, [LOOP])
    loop = RECORD.read_values(folder / LOOP)
    if loop["step"] != manifest.step:
        raise RECORD.damaged(folder / LOOP, f"its `step` is {loop['step']}, and the manifest's is {manifest.step}")
    return loop
