"""Going back to an earlier checkpoint, past the batches that led to a bad step; and when the process dies over it."""

import json
from pathlib import Path

import pytest

from talkies.checkpoints.store import CheckpointStore
from talkies.config import CheckpointError
from talkies.data.durable import write_text
from talkies.training.config import RollbackConfig
from talkies.training.guard import BadStepError
from talkies.training.rollback import FILE, Rollback, go_back, read_rollbacks, settle

BATCH = 4


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    found = CheckpointStore(tmp_path / "checkpoints")
    for step in (5, 10, 15, 20):
        save(found, step)
    return found


def save(store: CheckpointStore, step: int, *passed: tuple[int, int]) -> None:
    """A checkpoint of which only the data's state matters."""
    loop = {"step": step, "data": {"consumed": step * BATCH, "passed": [list(pair) for pair in passed]}}
    store.save(step, lambda folder: write_text(folder / "loop.json", json.dumps(loop)))


def back(folder: Path, store: CheckpointStore, **changed: int) -> Rollback:
    config = RollbackConfig(**{"back": 4, "ahead": 2, **changed})
    return go_back(folder, store, config, at=22, position=22 * BATCH, global_batch=BATCH, reason="step 22: a spike")


def test_it_goes_back_far_enough_and_past_the_batches_before_and_after(tmp_path: Path, store: CheckpointStore) -> None:
    made = back(tmp_path, store)
    assert (made.at, made.to, made.start, made.stop) == (22, 15, 15 * BATCH, 25 * BATCH)
    assert store.steps() == [5, 10, 15]
    assert read_rollbacks(tmp_path) == (made,)
    assert settle(tmp_path, store) == ((60, 100),)


def test_without_a_checkpoint_that_early_it_begins_anew(tmp_path: Path, store: CheckpointStore) -> None:
    made = back(tmp_path, store, back=100)
    assert (made.to, made.start) == (0, 0)
    assert store.steps() == []


def test_a_damaged_checkpoint_is_no_place_to_go_back_to(tmp_path: Path, store: CheckpointStore) -> None:
    (store.path(15) / "loop.json").write_text("{}")
    assert back(tmp_path, store).to == 10


def test_a_process_that_died_over_it_is_finished_by_the_next(tmp_path: Path, store: CheckpointStore) -> None:
    """The record comes first; what it left would otherwise be the newest checkpoint."""
    made = back(tmp_path, store)
    save(store, 20)  # as if it had not been deleted: it knows nothing of the going back
    assert settle(tmp_path, store) == ((made.start, made.stop),)
    assert store.steps() == [5, 10, 15]
    save(store, 20, (made.start, made.stop))
    settle(tmp_path, store)
    assert store.steps() == [5, 10, 15, 20], "one that was made afterwards stays"


def test_a_run_goes_back_so_often_and_no_more(tmp_path: Path, store: CheckpointStore) -> None:
    back(tmp_path, store, times=1)
    with pytest.raises(BadStepError, match=r"a spike\. The run has gone back 1 times \(`survival.rollback.times`\)"):
        back(tmp_path, store, times=1)


def test_a_damaged_record_is_no_reason_to_train_on_what_was_passed_over(tmp_path: Path, store: CheckpointStore) -> None:
    (tmp_path / FILE).write_text("[{}]")
    with pytest.raises(CheckpointError, match=r"rollbacks\.json is damaged"):
        settle(tmp_path, store)
