"""What a layout makes of tokens, heads and batch. parallel/check.py has refused the degrees that do not divide."""

from dataclasses import dataclass
from math import gcd

from talkies.planning.work import Work


@dataclass(frozen=True, kw_only=True)
class Share:
    """One stream on one rank: `tokens` of it, `padding` of them added over the sequence group (masked, no keys);
    attention exchanges heads in groups of `exchange` ranks and gathers keys and values over `gather` such groups."""

    tokens: int
    padding: int
    exchange: int
    gather: int


@dataclass(frozen=True, kw_only=True)
class Divisibility:
    """The values that would divide, too: `steps.global_batch` must be a multiple of `batch` (readers x accumulate), the
    nearest others are `batches`; `sequences` divide the shard group, and no modality has fewer tokens. Heads and tokens
    need not divide."""

    batch: int
    batches: tuple[int, ...]
    sequences: tuple[int, ...]


def shares(work: Work) -> dict[str, Share]:
    """stream -> what one rank has of it."""
    degree, found = work.layout.sequence, {}
    for m, config in work.towers.items():
        inner = gcd(config.heads, degree)
        padding = work.padded(m) - work.tokens[m]
        found[str(m)] = Share(tokens=work.held(m), padding=padding, exchange=inner, gather=degree // inner)
    return found


def divisibility(work: Work) -> Divisibility:
    """What else the layout of `work` could be given."""
    batch, shard = work.readers * work.accumulate, work.layout.shard
    near = tuple(n for n in (work.clips - batch, work.clips + batch) if n > 0)
    longest = min(shard, *(work.tokens[m] for m in work.towers))
    return Divisibility(batch=batch, batches=near, sequences=tuple(n for n in range(1, longest + 1) if shard % n == 0))
