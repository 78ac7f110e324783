"""Whether a layout divides what it has to, and what would."""

from dataclasses import dataclass

from talkies.config import RecipeError
from talkies.parallel.config import DdpConfig, Fsdp2Config
from talkies.planning.work import Work


@dataclass(frozen=True, kw_only=True)
class Share:
    """One stream on one rank: `tokens` of it, `padding` of them added over the sequence group (masked, no keys);
    attention exchanges heads in groups of `exchange` ranks and gathers keys and values over `gather` such groups."""

    tokens: int
    padding: int
    exchange: int
    gather: int


def check_layout(layout: DdpConfig | Fsdp2Config, *, global_batch: int, accumulate: int) -> None:
    """Raise RecipeError for degrees that do not divide, naming the nearest that do.

    Heads and tokens need not divide: attention turns to a hybrid, the last tokens are padding.
    """
    if layout.shard % layout.sequence:
        raise RecipeError(
            f"recipe: `parallel.sequence` {layout.sequence} does not divide `parallel.shard` {layout.shard}: sequence "
            f"groups lie inside a shard group; nearest sequence: {_divisors(layout.shard, layout.sequence)}; nearest "
            f"shard: {_multiples(layout.shard, layout.sequence)}"
        )
    readers = layout.ranks // layout.sequence
    if global_batch % (accumulate * readers):
        raise RecipeError(
            f"recipe: `steps.global_batch` {global_batch} does not divide by {readers} readers (ranks "
            f"{layout.ranks} / sequence {layout.sequence}) x `steps.accumulate` {accumulate}; nearest global batch: "
            f"{_multiples(global_batch, accumulate * readers)}; nearest readers: "
            f"{_divisors(global_batch // accumulate, readers)}"
        )


def _divisors(count: int, wanted: int) -> str:
    """The divisors of `count` on both sides of `wanted`."""
    found = [n for n in range(1, count + 1) if count % n == 0]
    below, above = [n for n in found if n < wanted], [n for n in found if n > wanted]
    return ", ".join(map(str, below[-1:] + above[:1]))


def _multiples(count: int, step: int) -> str:
    """The multiples of `step` on both sides of `count`."""
    below = count // step * step
    return ", ".join(str(n) for n in (below, below + step) if n > 0)


def shares(work: Work) -> dict[str, Share]:
    """stream -> what one rank has of it."""
    from math import gcd

    degree, found = work.layout.sequence, {}
    for m, config in work.towers.items():
        inner = gcd(config.heads, degree)
        padding = work.padded(m) - work.tokens[m]
        found[str(m)] = Share(tokens=work.held(m), padding=padding, exchange=inner, gather=degree // inner)
    return found
