"""The order of samples: a pure function, complete in every epoch, the same for any split into batches and ranks."""

import itertools
from collections.abc import Sequence

import pytest

from talkies.config import RecipeError
from talkies.data.order import (
    CounterSampler,
    global_indices,
    indices,
    merged_ranges,
    micro_batch,
    past_skipped,
    permutation,
    position_after,
)


def test_every_clip_once_per_epoch() -> None:
    stream = indices(13, 5, 0, 13 * 4)
    for epoch in range(4):
        part = stream[13 * epoch : 13 * (epoch + 1)]
        assert sorted(clip for clip, _ in part) == list(range(13))
        assert {visit for _, visit in part} == {epoch}


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(permutation(64, seed, epoch).tolist()) for seed in (-1, 0, 1, 2**70) for epoch in range(4)}
    assert len(orders) == 16


def test_order_is_pinned() -> None:
    # A resumed run may use another numpy: the order must not change.
    assert permutation(8, 0, 0).tolist() == [4, 7, 5, 0, 3, 1, 2, 6]
    assert permutation(8, 7, 3).tolist() == [6, 5, 2, 3, 4, 1, 0, 7]


def test_a_batch_may_hold_two_epochs() -> None:
    batch = global_indices(10, 0, step=2, global_batch=4)
    assert [visit for _, visit in batch] == [0, 0, 1, 1]
    stream = indices(10, 0, 0, 12)
    assert [*global_indices(10, 0, 0, 4), *global_indices(10, 0, 1, 4), *batch] == stream


def test_a_batch_may_be_larger_than_the_data() -> None:
    batch = global_indices(3, 0, step=0, global_batch=8)
    assert sorted(batch) == sorted([(c, v) for v in range(2) for c in range(3)] + batch[6:])
    assert {visit for _, visit in batch[6:]} == {2}


def test_a_late_step_costs_no_walk() -> None:
    batch = global_indices(10, 0, step=10**12, global_batch=4)
    assert {visit for _, visit in batch} <= {4 * 10**11 - 1, 4 * 10**11}


def take(sampler: CounterSampler, count: int) -> list[list[tuple[int, int]]]:
    return list(itertools.islice(sampler, count))


def interleaved(parts: Sequence[list[tuple[int, int]]]) -> list[tuple[int, int]]:
    return [sample for group in zip(*parts, strict=True) for sample in group]


@pytest.mark.parametrize("world", [1, 2, 3, 6])
@pytest.mark.parametrize("start", [0, 6, 18])
def test_ranks_share_the_same_global_batches(world: int, start: int) -> None:
    ranks = [
        take(CounterSampler(10, 3, lambda: start, micro=6 // world, rank=rank, data_ranks=world), 5)
        for rank in range(world)
    ]
    for step in range(5):
        assert interleaved([rank[step] for rank in ranks]) == indices(10, 3, start + 6 * step, 6)


def test_iteration_begins_at_the_counter_of_that_moment() -> None:
    consumed = 0
    sampler = CounterSampler(10, 0, lambda: consumed, micro=2)
    consumed = 4
    assert take(sampler, 1) == [indices(10, 0, 4, 2)]
    assert take(sampler, 1) == [indices(10, 0, 4, 2)]


@pytest.mark.parametrize(("world", "micro"), [(1, 6), (1, 3), (2, 3), (3, 1), (6, 1)])
def test_skipped_positions_are_skipped_by_every_split(world: int, micro: int) -> None:
    """Two steps of six samples are skipped, one of them at the beginning; the rest of the stream keeps its order."""
    passed = merged_ranges([(0, 6), (18, 24)])
    each = 6 // (micro * world)
    ranks = [
        take(CounterSampler(10, 3, lambda: 0, micro=micro, rank=r, data_ranks=world, passed=lambda: passed), 3 * each)
        for r in range(world)
    ]
    found = [sample for k in range(3 * each) for sample in interleaved([rank[k] for rank in ranks])]
    assert found == [*indices(10, 3, 6, 12), *indices(10, 3, 24, 6)]


def test_ranges_are_merged_and_skipped() -> None:
    assert merged_ranges([(18, 24), (0, 6), (4, 10), (10, 12)]) == ((0, 12), (18, 24))
    assert [past_skipped(k, ((0, 12), (12, 16), (18, 24))) for k in (0, 11, 16, 17, 18, 24)] == [16, 16, 16, 17, 24, 24]


@pytest.mark.parametrize("passed", [(), ((0, 6),), ((6, 12), (24, 36)), ((18, 24),)])
def test_where_a_step_ends(passed: tuple[tuple[int, int], ...]) -> None:
    consumed = 0
    for step in range(1, 8):
        consumed = past_skipped(consumed, passed) + 6
        assert position_after(step, 6, passed) == consumed


def test_micro_batch() -> None:
    assert micro_batch(24, 3, 2) == 4
    with pytest.raises(RecipeError, match=r"`steps.global_batch` 10 is not divisible .* 1 x world size 4; .*: 8, 12\."):
        micro_batch(10, 1, 4)
    with pytest.raises(RecipeError, match=r"nearest valid: 8\."):
        micro_batch(3, 4, 2)
    with pytest.raises(RecipeError, match=r"nearest valid: 2\."):
        micro_batch(0, 2, 1)
