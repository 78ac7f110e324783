"""Whether a layout fits a GPU, and the smallest layout that does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from talkies.config import RecipeError
from talkies.parallel.config import Fsdp2Config
from talkies.planning.activations import Activations, activations
from talkies.planning.profile import Profiler
from talkies.planning.work import Part, Work
from talkies.planning.zero import rank_memory

MAX_RANKS = 1024
SHARDS = (1, 2, 4, *range(8, MAX_RANKS + 1, 8))  # GPUs of one node, then whole nodes of 8


@dataclass(frozen=True, kw_only=True)
class Smallest:
    """The fewest ranks that hold the work with blocks recomputed, one clip per micro-batch; `bytes` on the fullest."""

    shard: int
    sequence: int
    accumulate: int
    bytes: int

    def overrides(self) -> str:
        """The overrides that select this layout."""
        layout = f"{{kind: fsdp2, replicate: 1, shard: {self.shard}, sequence: {self.sequence}}}"
        return f"'parallel={layout}' compute.checkpointing=true steps.accumulate={self.accumulate}"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A layout that needs `bytes` on a GPU of `card` GB; `smallest`: None if no layout of at most 1024 fits."""

    card: int
    bytes: int
    fits: bool
    smallest: Smallest | None


def fit_memory(parts: Sequence[Part], work: Work, card: int, *, profiler: Profiler) -> Fit:
    """Whether `work` fits one GPU, and the smallest layout that does."""
    kept = activations(profiler(work), checkpointing=work.checkpointing)
    needed = rank_memory(parts, work, kept).total
    found = smallest(parts, work, card, profiler=profiler)
    return Fit(card=card, bytes=needed, fits=needed <= card * 10**9, smallest=found)


def smallest(parts: Sequence[Part], work: Work, card: int, *, profiler: Profiler) -> Smallest | None:
    """The first layout that fits, by ranks, then by sequence degree."""
    limit = card * 10**9
    undivided = _kept(profiler, replace(work, layout=Fsdp2Config(shard=1), accumulate=work.clips))
    for candidate in _layouts(work):
        layout = candidate.layout
        # A tensor on one of n ranks has at least 1 / n of its bytes, so that most layouts need no profile.
        least = Activations(inputs=undivided.total // layout.sequence)
        if rank_memory(parts, candidate, least).total > limit:
            continue
        needed = rank_memory(parts, candidate, _kept(profiler, candidate)).total
        if needed <= limit:
            return Smallest(shard=layout.shard, sequence=layout.sequence, accumulate=candidate.accumulate, bytes=needed)
    return None


def _kept(profiler: Profiler, work: Work) -> Activations:
    return activations(profiler(work, backward=False), checkpointing=True)


def _layouts(work: Work) -> Iterator[Work]:
    """`work` on every layout of one replica whose degrees divide evenly."""
    longest = min(work.tokens.values())
    for shard in SHARDS:
        for sequence in (n for n in range(1, min(shard, longest) + 1) if shard % n == 0):
            accumulate, rest = divmod(work.clips, shard // sequence)
            if not rest:
                layout = Fsdp2Config(shard=shard, sequence=sequence)
                yield replace(work, layout=layout, accumulate=accumulate, checkpointing=True)


def refuse(name: str, work: Work, found: Fit) -> None:
    """Raise RecipeError if the layout does not fit, naming what is needed and what would fit."""
    if found.fits:
        return
    layout = work.layout
    ranks = f"{layout.kind} on {layout.ranks} ranks (shard {layout.shard}, sequence {layout.sequence})"
    if found.smallest is None:
        advice = f"no layout of at most {MAX_RANKS} ranks fits it; take a larger GPU or a smaller geometry"
    else:
        advice = f"the smallest layout that fits it: {found.smallest.overrides()}"
    raise RecipeError(
        f"plan: {name} needs {found.bytes / 1e9:,.1f} GB per rank with {ranks}, checkpointing "
        f"{'on' if work.checkpointing else 'off'}, but the GPU has {found.card} GB; {advice}"
    )
