"""Which clips an optimizer step trains on: a pure function of (seed, step), independent of workers and ranks.

The stream of samples is endless: epoch after epoch, each a permutation of all clips. Position p of the stream is clip
number p % size of epoch p // size; a batch may span two epochs.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from talkies.config import RecipeError

Skipped = tuple[tuple[int, int], ...]
"""Ascending ranges [start, stop) of positions in the stream of samples that are not trained on."""


@lru_cache(maxsize=2)
def permutation(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Order of the `size` clips in `epoch`.

    Sorts raw Philox words: numpy guarantees their values across versions, but not those of `shuffle`.
    """
    key = blake2b(f"{seed} {epoch}".encode(), digest_size=16, person=b"talkies.order").digest()
    words = np.random.Philox(key=int.from_bytes(key, "little")).random_raw(size)
    return np.argsort(words, kind="stable")


def indices(size: int, seed: int, start: int, count: int) -> list[tuple[int, int]]:
    """(clip, visit) at positions [start, start + count) of the stream; `visit` is how often the clip came before."""
    pairs: list[tuple[int, int]] = []
    while len(pairs) < count:
        epoch, offset = divmod(start + len(pairs), size)
        part = permutation(size, seed, epoch)[offset : offset + count - len(pairs)]
        pairs += [(clip, epoch) for clip in part.tolist()]
    return pairs


def global_indices(size: int, seed: int, step: int, global_batch: int) -> list[tuple[int, int]]:
    """(clip, visit) of every sample of optimizer step `step`, counted from 0."""
    return indices(size, seed, step * global_batch, global_batch)


def micro_batch(global_batch: int, accumulate: int, data_ranks: int) -> int:
    """Clips of one micro-batch on one rank. Raises RecipeError if the global batch is not divisible."""
    parts = accumulate * data_ranks
    if global_batch < 1 or global_batch % parts:
        below = global_batch // parts * parts
        nearest = ", ".join(str(n) for n in (below, below + parts) if n > 0)
        raise RecipeError(
            f"topology: `steps.global_batch` {global_batch} is not divisible by `steps.accumulate` {accumulate} x "
            f"world size {data_ranks}; nearest valid: {nearest}. A resumed run keeps its global batch: change the "
            "number of ranks or `steps.accumulate` instead"
        )
    return global_batch // parts


def past_skipped(position: int, passed: Skipped) -> int:
    """The first position of the stream from `position` on that is not skipped."""
    for start, stop in passed:
        if start <= position < stop:
            position = stop
    return position


def merged_ranges(ranges: Iterable[tuple[int, int]]) -> Skipped:
    """The same positions as ascending, disjoint ranges; adjacent ranges are merged."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return tuple(merged)


def position_after(steps: int, global_batch: int, passed: Skipped) -> int:
    """Position in the stream after `steps` optimizer steps that skipped `passed` (whole global batches)."""
    position = steps * global_batch
    for start, stop in passed:
        position += stop - start if start < position else 0
    return position


class CounterSampler:
    """Endless micro-batches of (clip, visit) for one rank, from the value of `consumed()` when iteration begins.

    Rank r takes [r::data_ranks] of each global micro-batch, so that their union does not depend on the number of ranks.
    Positions in `passed()` (whole global batches) are skipped.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        consumed: Callable[[], int],
        *,
        micro: int,
        rank: int = 0,
        data_ranks: int = 1,
        passed: Callable[[], Skipped] = tuple,
    ) -> None:
        assert 0 <= rank < data_ranks, f"rank {rank} of {data_ranks}"
        self.size, self.seed, self.consumed = size, seed, consumed
        self.micro, self.rank, self.data_ranks, self.passed = micro, rank, data_ranks, passed

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        start, global_micro, passed = self.consumed(), self.micro * self.data_ranks, self.passed()
        while True:
            start = past_skipped(start, passed)
            yield indices(self.size, self.seed, start, global_micro)[self.rank :: self.data_ranks]
            start += global_micro
