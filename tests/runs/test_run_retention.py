"""Retention keeps the best checkpoint and those that a registered release was made from."""

import json
import multiprocessing
from pathlib import Path

import pytest

from talkies.checkpoints.store import CheckpointStore
from talkies.config import CheckpointError
from talkies.runs.records import BestRecord
from talkies.runs.retention import Retention, best_of, mark

WEIGHTS = {"video": 1.0, "audio": 0.2}


class Run:
    """A run that keeps its newest checkpoint, as training does: saved, retained, validated."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, CheckpointStore(folder / "checkpoints")
        self.kept = Retention(folder, WEIGHTS)

    def save(self, step: int) -> list[int]:
        self.store.save(step, lambda folder: (folder / "loop.json").write_text("{}") and None)
        return self.store.retain(1, self.kept.protects)

    def measure(self, step: int, loss: float) -> None:
        self.kept.measured({"heldout/video": loss, "heldout/audio": 0.0, "heldout/audio/bin0": 9.0}, step)

    @property
    def best(self) -> int | None:
        found = best_of(self.folder)
        return None if found is None else int(found.step)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_the_best_stays_until_there_is_a_better_one(run: Run) -> None:
    for step, loss, best, there in [(1, 5.0, 1, [1]), (2, 3.0, 2, [2]), (3, 4.0, 2, [2, 3]), (4, 3.5, 2, [2, 4])]:
        run.save(step)
        run.measure(step, loss)
        assert run.best == best
        assert run.store.steps() == ([1, 2] if step == 2 else there), "the one before goes with the next save"
    run.save(5)
    run.measure(5, 1.0)
    run.save(6)
    assert (run.best, run.store.steps()) == (5, [5, 6])
    assert json.loads((run.folder / "best.json").read_text()) == {
        "step": 5, "metric": "1 * heldout/video + 0.2 * heldout/audio", "value": 1.0,
    }  # fmt: skip


def test_a_run_with_rollback_keeps_the_checkpoint_to_go_back_to(tmp_path: Path) -> None:
    """The newest that is old enough, whatever was saved since (a stop saves between the due steps)."""
    found = Run(tmp_path)
    found.kept = Retention(tmp_path, WEIGHTS, back=4)
    for step, there in [(5, [5]), (10, [5, 10]), (11, [5, 10, 11]), (12, [5, 10, 12]), (16, [12, 16]), (20, [16, 20])]:
        found.save(step)
        assert found.store.steps() == there


@pytest.mark.parametrize(
    ("every", "keep", "back"), [(20, 2, 100), (10, 1, 100), (50, 2, 100), (7, 3, 30), (100, 1, 20)]
)
def test_there_is_always_one_that_is_old_enough(tmp_path: Path, every: int, keep: int, back: int) -> None:
    """It is kept until it is old enough, and is not much older than necessary."""
    store, kept = CheckpointStore(tmp_path / "checkpoints"), Retention(tmp_path, WEIGHTS, back=back)
    for step in range(every, 20 * every, every):
        store.path(step).mkdir(parents=True)
        (store.path(step) / "manifest.json").touch()
        store.retain(keep, kept.protects)
        steps = store.steps()
        assert len(steps) <= keep + 2
        early = [known for known in steps if known <= step - back]
        assert early or step <= back + every - 1
        assert max(early, default=step) >= step - 2 * back - every


def test_it_survives_the_process(run: Run) -> None:
    run.save(1)
    run.measure(1, 2.0)
    again = Run(run.folder)
    again.save(2)
    again.measure(2, 3.0)
    again.save(3)
    assert again.store.steps() == [1, 3]


def test_a_validation_that_ends_before_its_checkpoint_waits_for_it(run: Run) -> None:
    """One whose checkpoint is never written (a full disk) does not replace the best."""
    run.save(1)
    run.measure(1, 5.0)
    run.measure(2, 1.0)  # while the checkpoint is being written
    assert run.best == 1
    run.save(2)
    assert run.best == 2
    run.measure(3, 0.5)  # whose checkpoint fails
    run.save(4)
    run.measure(4, 2.0)
    assert (run.best, run.store.steps()) == (2, [2, 4])


def test_a_loss_that_is_not_finite_is_never_the_best(run: Run) -> None:
    run.save(1)
    run.measure(1, float("nan"))
    assert run.best is None


def test_a_rollback_forgets_the_losses_of_undone_steps(run: Run) -> None:
    run.save(1)
    run.measure(1, 5.0)
    mark(run.folder, 1, "keeps 1")
    run.save(2)
    run.measure(2, 1.0)
    run.kept.set_aside(1)
    assert run.store.drop(1) == [2]
    assert run.best is None
    run.save(2)  # the same step, other weights
    assert run.best is None
    run.measure(2, 4.0)
    assert best_of(run.folder) == BestRecord(step=2, metric=run.kept.metric, value=4.0)


def test_marks_whose_checkpoint_was_moved_by_a_killed_process_follow_it(run: Run) -> None:
    for step in (1, 2):
        run.store.save(step, lambda folder: (folder / "loop.json").write_text("{}") and None)
        mark(run.folder, step, "a release")
    left = run.folder / "left" / "step-00000002-1"
    left.parent.mkdir()
    run.store.path(2).rename(left)
    run.kept.set_aside(1)
    run.store.drop(1)
    assert [path.name for path in (run.folder / "registered").iterdir()] == [mark(run.folder, 1, "a release").name]
    assert sorted(path.is_dir() for path in left.parent.iterdir()) == [False, True]
    assert (run.store.folder / "LATEST").read_text() == "step-00000001\n"
    assert (run.kept.protects(1), run.kept.protects(2)) == (True, False)


def test_the_loss_of_a_repeated_step_is_replaced(run: Run) -> None:
    run.save(1)
    run.measure(1, 1.0)
    run.measure(1, 6.0)
    assert best_of(run.folder) == BestRecord(step=1, metric=run.kept.metric, value=6.0)


def test_nothing_is_deleted_while_the_record_of_the_best_is_damaged(run: Run) -> None:
    run.save(1)
    run.measure(1, 1.0)
    (run.folder / "best.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"best\.json is damaged: it has no `step`.*remove it to forget the best"):
        run.save(2)
    assert run.store.steps() == [1, 2]


def test_a_mark_of_another_process_counts_at_once(run: Run) -> None:
    for step in (1, 2):
        run.save(step)
    assert run.store.steps() == [2]
    child = multiprocessing.get_context("fork").Process(target=mark, args=(run.folder, 2, "models:/m/1"))
    child.start()
    child.join(200)
    for step in (3, 4):
        run.save(step)
    assert run.store.steps() == [2, 4]
    kept = mark(run.folder, 2, "models:/m/1")
    assert json.loads(kept.read_text()) == {"step": 2, "name": "models:/m/1"}
    kept.unlink()
    run.save(5)
    assert run.store.steps() == [5]


def test_a_mark_that_comes_while_others_are_deleted_counts(run: Run) -> None:
    """Marks are read right before each deletion."""
    for step in (1, 2, 3):
        run.store.save(step, lambda folder: (folder / "loop.json").write_text("{}") and None)

    def protects(step: int) -> bool:
        if step == 2 and run.store.steps() == [2, 3]:
            mark(run.folder, 2, "models:/m/1")  # another process, once step 1 is gone
        return run.kept.protects(step)

    assert run.store.retain(1, protects) == [1]
    assert run.store.steps() == [2, 3]
