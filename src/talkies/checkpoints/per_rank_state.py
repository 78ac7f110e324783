"""What each rank has gathered since the last report: part of a checkpoint, so that the next report is complete."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, Literal

from talkies.checkpoints.manifest import read_manifest, verify
from talkies.config import CheckpointError
from talkies.config.numbers import LIMIT, Count, Natural, NonNegative
from talkies.config.plain_json import canonical_json
from talkies.config.quoting import shown
from talkies.config.records import Kind, record
from talkies.files.durable import write_text

RankState = Mapping[str, Any]
"""Plain JSON."""
GATHERED = "gathered"


@record
class TensorRecord:
    """A small tensor, exactly; the numbers are text, because JSON has no NaN."""

    dtype: Literal["float16", "bfloat16", "float32", "float64", "int64"]
    shape: tuple[Natural, ...]
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.values) != prod(self.shape):
            raise ValueError(f"it has {len(self.values)} `values`, and must have {prod(self.shape)} for its `shape`")
        for text in self.values:
            if not _fits(text, self.dtype):
                raise ValueError(f"one of its `values` is {shown(text)}, and must be a number of {self.dtype}")


def _fits(text: str, dtype: str) -> bool:
    try:
        return -LIMIT <= int(text) < LIMIT if dtype == "int64" else isinstance(float(text), float)
    except ValueError:
        return False


@record
class ClockRecord:
    """Seconds of training since the last report; wait for data and time of computing of each micro-batch."""

    seconds: NonNegative
    data: tuple[float, ...]
    compute: tuple[float, ...]


@record
class MetricsRecord:
    """Sums and counts of losses by metric, over `clips`, each of which `share` ranks have read."""

    sums: dict[str, TensorRecord]
    counts: dict[str, TensorRecord]
    clips: Natural
    share: Count
    clock: ClockRecord

    def __post_init__(self) -> None:
        shapes = [{key: one.shape for key, one in part.items()} for part in (self.sums, self.counts)]
        if shapes[0] != shapes[1]:
            raise ValueError("its `sums` and its `counts` have different metrics or shapes")


@record
class QuarantineRecord:
    """Whether clips were replaced since the last report."""

    unreported: bool


@record
class RankStateRecord:
    """gathered-RANK.json; metrics or quarantine are absent if the run had none."""

    metrics: MetricsRecord | None = None
    quarantine: QuarantineRecord | None = None


RECORD = Kind(
    holds=RankStateRecord, about="checkpoint", remedy="restore it from a copy", error=CheckpointError, limit=1 << 28
)


def rank_state_file(rank: int) -> str:
    """The name of a rank's file."""
    return f"{GATHERED}-{rank:05d}.json"


def write_rank_state(folder: Path, rank: int, gathered: RankState) -> None:
    """Write the file of one rank into a checkpoint that is being made."""
    write_text(folder / rank_state_file(rank), canonical_json(dict(gathered)) + "\n")


def read_rank_states(folder: Path, place: tuple[int, int]) -> list[dict[str, Any]]:
    """What rank `place[0]` of `place[1]` takes over: every `place[1]`-th file from its own on, so that the files of
    ranks that no longer exist are read, too. Empty for checkpoints of older versions.

    Raises CheckpointError for a damaged file.
    """
    rank, size = place
    names = sorted(name for name in read_manifest(folder).files if name.startswith(f"{GATHERED}-"))[rank::size]
    verify(folder, names)
    return [RECORD.read_values(folder / name) for name in names]
