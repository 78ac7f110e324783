"""How a layout divides tokens, heads and batch. parallel/check.py has refused degrees that do not divide evenly."""

from dataclasses import dataclass

from talkies.planning.profile import Profile
from talkies.planning.work import Work


@dataclass(frozen=True, kw_only=True)
class Share:
    """One stream on one rank: its `tokens`; `padding` added over the sequence group (masked, no keys). Attention
    exchanges heads in groups of `exchange` ranks, and gathers keys and values over `gather` such groups."""

    tokens: int
    padding: int
    exchange: int
    gather: int


@dataclass(frozen=True, kw_only=True)
class Divisibility:
    """Other values that divide evenly: `steps.global_batch` must be a multiple of `batch` (readers x accumulate), the
    nearest others are `batches`; `sequences` divide the shard group, and no stream has fewer tokens. Heads and tokens
    need not divide evenly."""

    batch: int
    batches: tuple[int, ...]
    sequences: tuple[int, ...]


def shares(work: Work, profile: Profile) -> dict[str, Share]:
    """stream -> the share of one rank."""
    degree, found = work.layout.sequence, {}
    for name in work.tokens:
        tokens = work.rank_tokens(name)
        inner = profile.exchanging.get(tokens, min(profile.exchanging.values(), default=degree))
        padding = work.padded(name) - work.tokens[name]
        found[name] = Share(tokens=tokens, padding=padding, exchange=inner, gather=degree // inner)
    return found


def divisibility(work: Work) -> Divisibility:
    """The batches and sequence degrees that the layout of `work` allows."""
    batch, shard = work.readers * work.accumulate, work.layout.shard
    near = tuple(n for n in (work.clips - batch, work.clips + batch) if n > 0)
    longest = min(shard, *work.tokens.values())
    return Divisibility(batch=batch, batches=near, sequences=tuple(n for n in range(1, longest + 1) if shard % n == 0))
