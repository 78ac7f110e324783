"""Which checkpoints are deleted, and which never are."""

import warnings

import pytest
from small_store import fill, flip, names

from talkies.checkpoints.store import LATEST, CheckpointStore, CheckpointWarning
from talkies.config import RecipeError


def kept(store: CheckpointStore) -> list[int]:
    return store.steps()


def test_retain_keeps_the_newest(store: CheckpointStore) -> None:
    for step in (5, 10, 15, 20):
        store.save(step, fill())
    assert store.retain(2) == [5, 10]
    assert kept(store) == [15, 20]
    assert names(store) == [LATEST, "step-00000015", "step-00000020"]
    assert store.retain(2) == []


def test_retain_keeps_the_protected(store: CheckpointStore) -> None:
    for step in (5, 10, 15):
        store.save(step, fill())
    assert store.retain(1, lambda step: step in {5, 99}) == [10]
    assert kept(store) == [5, 15]


def test_retain_does_not_count_damaged_ones(store: CheckpointStore) -> None:
    for step in (5, 10, 20):
        store.save(step, fill())
    flip(store.path(20) / "loop.json")
    again = CheckpointStore(store.folder)
    with pytest.warns(CheckpointWarning, match="falling back to step-00000010"):
        again.latest()
    assert again.retain(1) == [5]
    again.save(15, fill())
    assert again.retain(1) == [10]
    assert kept(again) == [15, 20]
    with pytest.warns(CheckpointWarning, match="it is replaced"):
        again.save(20, fill())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again.latest() == again.path(20)
    assert again.retain(1) == [15]


def test_retain_never_deletes_what_was_just_saved(store: CheckpointStore) -> None:
    store.save(20, fill())
    flip(store.path(20) / "loop.json")
    again = CheckpointStore(store.folder)
    again.save(10, fill())
    assert again.retain(1) == []
    assert 10 in kept(again)


def test_retain_wants_at_least_one(store: CheckpointStore) -> None:
    store.save(1, fill())
    with pytest.raises(RecipeError, match=r"`steps\.keep` is 0"):
        store.retain(0)
    assert kept(store) == [1]


@pytest.mark.parametrize(("after", "left"), [(20, [5, 10, 20]), (19, [5, 10]), (5, [5]), (0, [])])
def test_drop_deletes_later_checkpoints(store: CheckpointStore, after: int, left: list[int]) -> None:
    for step in (5, 10, 20):
        store.save(step, fill("old"))
    assert store.drop(after) == [step for step in (5, 10, 20) if step not in left]
    assert kept(store) == left
    pointer = store.folder / LATEST
    assert (pointer.read_text() == f"{store.path(left[-1]).name}\n") if left else not pointer.exists()
    if after < 20:
        store.save(20, fill("new"))  # step 20 is made again
        assert store.retain(1) == left
    assert store.latest() == store.path(20)
