"""Rollback to an earlier checkpoint, past the batches that led to a bad step, also if the process dies during it."""

import json
from pathlib import Path

import pytest

from talkies.checkpoints.store import CheckpointStore
from talkies.config import CheckpointError
from talkies.files.durable import write_text
from talkies.resilience.config import RollbackConfig
from talkies.resilience.guard import BadStepError
from talkies.resilience.rollback import FILE, Rollback, finish_interrupted, go_back, read_rollbacks
from talkies.runs.retention import Retention, mark

BATCH = 4


def leave_nothing(_: Rollback) -> None:
    """No checkpoint must stay."""


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    found = CheckpointStore(tmp_path / "checkpoints")
    for step in (5, 10, 15, 20):
        save(found, step)
    return found


def save(store: CheckpointStore, step: int, *passed: tuple[int, int]) -> None:
    """A checkpoint; only its data's state matters."""
    data = {"consumed": step * BATCH, "passed": [list(pair) for pair in passed], "quarantined": []}
    data |= {"clips": 3, "fingerprint": "ab", "seed": 0}
    loop = {"step": step, "recipe": None, "ema_updates": step, "data": data, "guard": {"good": {}, "skipped": []}}
    store.save(step, lambda folder: write_text(folder / "loop.json", json.dumps(loop)))


def back(folder: Path, store: CheckpointStore, **changed: int) -> Rollback:
    config = RollbackConfig(**{"back": 4, "ahead": 2, **changed})
    return go_back(
        folder,
        store,
        config,
        at=23,
        position=22 * BATCH,
        global_batch=BATCH,
        reason="step 23: a spike",
        before_rollback=leave_nothing,
    )


def test_it_goes_back_far_enough_and_past_the_batches_before_and_after(tmp_path: Path, store: CheckpointStore) -> None:
    made = back(tmp_path, store)
    assert (made.at, made.to, made.start, made.stop) == (23, 15, 15 * BATCH, 25 * BATCH)
    assert store.steps() == [5, 10, 15]
    assert read_rollbacks(tmp_path) == (made,)
    assert finish_interrupted(tmp_path, store, leave_nothing) == ((60, 100),)


def test_without_a_checkpoint_that_early_it_goes_back_to_the_oldest(tmp_path: Path, store: CheckpointStore) -> None:
    made = back(tmp_path, store, back=100)
    assert (made.to, made.start) == (5, 5 * BATCH)
    assert store.steps() == [5]


def test_a_run_that_never_had_a_checkpoint_starts_from_step_0(tmp_path: Path) -> None:
    made = back(tmp_path, CheckpointStore(tmp_path / "checkpoints"))
    assert (made.to, made.start) == (0, 0)


def test_damage_is_no_reason_to_start_from_step_0(tmp_path: Path, store: CheckpointStore) -> None:
    for step in store.steps():
        (store.path(step) / "loop.json").write_text("{}")
    with pytest.raises(CheckpointError, match="none of its 4 checkpoints is usable"):
        back(tmp_path, store)
    assert store.steps() == [5, 10, 15, 20]


def test_what_must_stay_is_set_aside_before_anything_is_deleted(tmp_path: Path, store: CheckpointStore) -> None:
    """The release of step 20 keeps its checkpoint; its mark does not apply to the step 20 that is made again."""
    mark(tmp_path, 20, "release")
    kept = Retention(tmp_path, {"audio": 1.0})
    config = RollbackConfig(back=4)
    go_back(
        tmp_path,
        store,
        config,
        at=23,
        position=88,
        global_batch=BATCH,
        reason="a spike",
        before_rollback=lambda made: kept.set_aside(made.to),
    )
    assert store.steps() == [5, 10, 15]
    store.verify(tmp_path / "left" / "step-00000020-1")
    assert not kept.protects(20)


def test_a_damaged_checkpoint_is_no_place_to_go_back_to(tmp_path: Path, store: CheckpointStore) -> None:
    (store.path(15) / "loop.json").write_text("{}")
    assert back(tmp_path, store).to == 10


def test_the_next_process_finishes_an_interrupted_rollback(tmp_path: Path, store: CheckpointStore) -> None:
    """The record is written first; else a checkpoint that was left behind would be the newest one."""
    made = back(tmp_path, store)
    save(store, 20)  # as if it had not been deleted: it does not know the rollback
    assert finish_interrupted(tmp_path, store, leave_nothing) == ((made.start, made.stop),)
    assert store.steps() == [5, 10, 15]
    save(store, 20, (made.start, made.stop))
    finish_interrupted(tmp_path, store, leave_nothing)
    assert store.steps() == [5, 10, 15, 20], "a checkpoint made after the rollback stays"


def test_the_next_process_reports_an_interrupted_rollback_again(tmp_path: Path, store: CheckpointStore) -> None:
    """A process that dies while it reports, or sets aside, has written the record and deleted nothing."""

    def die(_: Rollback) -> None:
        assert read_rollbacks(tmp_path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go_back(
            tmp_path,
            store,
            RollbackConfig(back=4),
            at=23,
            position=88,
            global_batch=BATCH,
            reason="a spike",
            before_rollback=die,
        )
    assert store.steps() == [5, 10, 15, 20]
    reported: list[Rollback] = []
    for _ in range(2):
        finish_interrupted(tmp_path, store, reported.append)
    assert [rollback.to for rollback in reported] == [15]
    assert store.steps() == [5, 10, 15]


def test_the_number_of_rollbacks_is_limited(tmp_path: Path, store: CheckpointStore) -> None:
    back(tmp_path, store, times=1)
    with pytest.raises(BadStepError, match=r"a spike\. The run has rolled back 1 times \(`survival.rollback.times`\)"):
        back(tmp_path, store, times=1)


WRONG = {
    "no mapping": "[1]",
    "no list": "7",
    "keys": '[{"at": 23}]',
    "words": '[{"at": 23, "to": 20, "start": "a", "stop": 92, "reason": "x"}]',
    "order": '[{"at": 23, "to": 20, "start": 99, "stop": 92, "reason": "x"}]',
    "torn": '[{"at": 23, ',
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_a_damaged_record_is_no_reason_to_train_on_what_was_passed_over(
    tmp_path: Path, store: CheckpointStore, content: str
) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(CheckpointError, match=r"rollbacks\.json is damaged: i.*; restore it from a copy, or start"):
        finish_interrupted(tmp_path, store, leave_nothing)


@pytest.mark.parametrize("content", [None, "[]", "{}"])
def test_a_record_that_lacks_what_a_checkpoint_knows_is_refused(
    tmp_path: Path, store: CheckpointStore, content: str | None
) -> None:
    """Without it the count of `times` would begin again."""
    made = back(tmp_path, store)
    save(store, 20, (made.start, made.stop))
    (tmp_path / FILE).unlink()
    if content is not None:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(
        CheckpointError, match=r"it (lacks what step-00000020 has skipped|holds a mapping, .* list); re"
    ):
        finish_interrupted(tmp_path, store, leave_nothing)
