"""Substitutes for clips that cannot be read during training.

A bad clip is found by reading it, and its substitute is a pure function of (seed, clip, visit): every process replaces
the same clips by the same substitutes, with any number of workers and ranks and after a resume, without communication.
"""

import logging
import math
from collections.abc import Collection, Iterator
from hashlib import blake2b
from json import dumps
from pathlib import Path

from talkies.config import DataError
from talkies.config.quoting import listed, shown
from talkies.config.records import Kind, record
from talkies.data.clip import Clip
from talkies.data.index import read_index
from talkies.data.shards import ShardSet
from talkies.data.verify import damaged_files, refusal
from talkies.streams.batch import Replaced

IN_A_ROW = 100
KEY, FILE = "survival.quarantine", "quarantine.jsonl"
"""The recipe section of the quarantine, and its record in a run folder."""
FAR = 2**61
"""Visits of substitutes begin here: a substitute's noise differs from any that the clip gets in its own turn."""
_WARNINGS = 5
_log = logging.getLogger(__name__)


@record
class QuarantinedRecord:
    """A line of quarantine.jsonl: the clip that could not be read. The line also has the substitute and the reason."""

    id: str


QUARANTINED = Kind(holds=QuarantinedRecord, about="run", remedy="move it away", limit=1 << 28)


class UnreadableError(DataError):
    """Neither a clip nor any of its substitutes can be read."""

    def __init__(self, message: str) -> None:
        # A loader re-raises a worker's error with the worker's traceback as the message; its last line is our message.
        super().__init__(message.rstrip().rpartition("\n")[2].removeprefix(f"{__name__}.{type(self).__name__}: "))


def substitutes(size: int, seed: int, clip: str, i: int, visit: int) -> Iterator[tuple[int, int]]:
    """(clip, visit) of the substitutes for clip number `i` of `size` at `visit`: endless, and never `i` itself."""
    attempt = 0
    while True:
        attempt += 1
        message = dumps([seed, clip, visit, attempt]).encode()
        drawn = int.from_bytes(blake2b(message, digest_size=16, person=b"talkies.replace").digest(), "little")
        high, low = divmod(drawn, FAR)
        yield (i + 1 + high % (size - 1)) % size, FAR + low


def read_or_substitute(
    shards: ShardSet, i: int, visit: int, streams: Collection[str], *, seed: int, in_a_row: int = IN_A_ROW
) -> tuple[Clip, int, Replaced | None]:
    """Clip `i` or its substitute: the clip, its visit, and the clip that it replaces, if any.

    Raises UnreadableError if `in_a_row` substitutes cannot be read either. Only errors of a clip itself (DataError)
    lead to a substitute.
    """
    try:
        return shards.read(i, streams), visit, None
    except DataError as error:
        first = last = error
    names = shards.index.clips
    bad, due = [names[i].id], names[i].id
    others = substitutes(len(shards), seed, due, i, visit) if len(shards) > 1 else iter(())
    for (other, far), _ in zip(others, range(in_a_row), strict=False):
        try:
            clip = shards.read(other, streams)
        except DataError as error:
            last = error
            bad.append(names[other].id)
            continue
        return clip, far, Replaced(id=due, shard=shards.shard_of(i), reason=str(first), substitute=clip.id)
    distinct = list(dict.fromkeys(bad))
    raise UnreadableError(
        f"data: clip {shown(due)} cannot be read, nor can {len(bad) - 1} substitutes in a row (`{KEY}.in_a_row` "
        f"{in_a_row}): {listed(distinct)}; the last: {last}"
    )


def allowed(share: float, clips: int) -> int:
    """How many of `clips` clips may be bad; a share of 0.29 of 100 is 29 in spite of binary rounding."""
    return math.floor(share * clips + 1e-9)


def open_to_train(folder: Path, streams: Collection[str], *, share: float, verify: bool = True) -> ShardSet:
    """Open the set in `folder` for training. With `verify`, its damaged shards are named in warnings, and DataError is
    raised if more than `share` of its clips cannot be read, or if the null texts are damaged.

    Only clips that cannot be read are bad, not all clips of a damaged shard: a shard that was damaged during training
    has the same effect before and after a resume.
    """
    index = read_index(folder)
    damaged = damaged_files(folder, [index.null_texts, *index.shards]) if verify else {}
    if index.null_texts.name in damaged:
        raise refusal(folder / index.null_texts.name, damaged[index.null_texts.name])
    shards = ShardSet(folder, index)
    if damaged:
        _weigh(shards, damaged, streams, share)
    return shards


def _weigh(shards: ShardSet, damaged: dict[str, str], streams: Collection[str], share: float) -> None:
    contents: dict[str, list[int]] = {name: [] for name in damaged}
    for i in range(len(shards)):
        if shards.shard_of(i) in contents:
            contents[shards.shard_of(i)].append(i)
    bad = {name: sum(not _readable(shards, i, streams) for i in clips) for name, clips in contents.items()}
    total, limit = sum(bad.values()), allowed(share, len(shards))
    if total > limit:
        name = max(bad, key=lambda name: bad[name] > 0)
        others = f" and {len(bad) - 1} other shards are damaged" if len(bad) > 1 else ""
        raise DataError(
            f"data: shard {shards.folder / name} {damaged[name]}{others}: {total} of the {len(shards)} clips of set "
            f"{shown(shards.header.name)} cannot be read, and `{KEY}.share` {share:g} allows {limit}; copy the shards "
            "again, run `talkies prepare`, or raise it"
        )
    for name in list(bad)[:_WARNINGS]:
        _log.warning(
            "data: shard %s %s; %d of its %d clips cannot be read and are replaced (%d of the %d of the set; "
            "`%s.share` %g allows %d)",
            shards.folder / name, damaged[name], bad[name], len(contents[name]), total, len(shards), KEY, share, limit,
        )  # fmt: skip
    if len(bad) > _WARNINGS:
        _log.warning("data: %d more shards of %s are damaged", len(bad) - _WARNINGS, shards.folder)


def _readable(shards: ShardSet, i: int, streams: Collection[str]) -> bool:
    try:
        shards.read(i, streams)
    except DataError:
        return False
    return True
