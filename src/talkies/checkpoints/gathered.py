"""What each rank has gathered since it last reported: part of a checkpoint, so that the next report holds all of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talkies.checkpoints.manifest import read_manifest, verify
from talkies.config import CheckpointError
from talkies.config.records import Kind
from talkies.data.durable import canonical_json, write_text

Gathered = Mapping[str, Any]
"""Plain JSON."""
GATHERED = "gathered"
RECORD = Kind(
    holds=dict[str, Any], about="checkpoint", remedy="restore it from a copy", error=CheckpointError, limit=1 << 28
)


def gathered_file(rank: int) -> str:
    """Where a rank keeps its own."""
    return f"{GATHERED}-{rank:05d}.json"


def write_gathered(folder: Path, rank: int, gathered: Gathered) -> None:
    """Write that of one rank into a checkpoint that is being made."""
    write_text(folder / gathered_file(rank), canonical_json(dict(gathered)) + "\n")


def read_gathered(folder: Path, place: tuple[int, int]) -> list[dict[str, Any]]:
    """What rank `place[0]` of `place[1]` takes over: its own; of ranks that are no more, every `place[1]`-th one's, so
    that nothing is lost. Empty for a checkpoint of before there was any.

    Raises CheckpointError for a damaged file.
    """
    rank, size = place
    names = sorted(name for name in read_manifest(folder).files if name.startswith(f"{GATHERED}-"))[rank::size]
    verify(folder, names)
    return [RECORD.read(folder / name) for name in names]
