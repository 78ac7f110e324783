"""Runs that are killed or stopped, or whose checkpoints are damaged, end like undisturbed ones."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from same_run import check_same, once_per_pass
from training_runs import CLIPS, STEPS, TrainingRun, killed

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
RecordOutcome = Callable[..., None]


@pytest.fixture
def broken(tmp_path: Path, data: Path) -> TrainingRun:
    """The run in which faults are injected."""
    return TrainingRun(runs=tmp_path / "runs", data=data)


@pytest.mark.fault("1", "kill -9 between steps", injected="SIGKILL after step 7 of 20, a checkpoint every 5")
def test_kill_9_between_steps(broken: TrainingRun, whole: TrainingRun, record_outcome: RecordOutcome) -> None:
    first = broken.attempt(killed(7, complete=5))
    assert first.code == -9
    lost = first.steps[-1] - broken.newest()
    second = broken.attempt()
    assert second.code == 0, second.err
    assert (first.steps, second.steps) == ([*range(1, 8)], [*range(6, STEPS + 1)])
    assert check_same(broken, whole) == [6, 7]
    record_outcome("continues from step 5; all equal, bitwise", steps_lost=lost, back_s=second.back_s)


@pytest.mark.fault("2", "kill -9 at the epoch boundary", injected="64 clips in fours, SIGKILL after step 16")
def test_kill_9_at_the_end_of_a_pass(broken: TrainingRun, whole: TrainingRun, record_outcome: RecordOutcome) -> None:
    """A checkpoint is written at that step."""
    broken.words["steps.checkpoint_every"] = 4
    first = broken.attempt(killed(16, complete=16))
    assert first.code == -9
    assert sum(len(line["clips"]) for line in first.made) == CLIPS
    second = broken.attempt()
    assert second.code == 0, second.err
    assert second.steps == [*range(17, STEPS + 1)]
    assert once_per_pass(broken.lines())
    assert check_same(broken, whole) == []
    record_outcome("the second pass begins at its first clip; all equal, bitwise", steps_lost=0, back_s=second.back_s)


@pytest.mark.fault("3", "three preemptions in one epoch", injected="SIGTERM in steps 3, 9 and 11 of a pass of 16")
def test_three_stops_in_one_pass(broken: TrainingRun, whole: TrainingRun, record_outcome: RecordOutcome) -> None:
    back = []
    for step in (3, 9, 11):
        attempt = broken.attempt(killed(step - 1, name="SIGTERM", where="training_step"))
        assert (attempt.code, attempt.steps[-1]) == (130, step), attempt.err
        assert broken.newest() == step
        back.append(attempt.back_s)
    last = broken.attempt()
    assert last.code == 0, last.err
    assert once_per_pass(broken.lines())
    assert check_same(broken, whole) == []
    record_outcome("every clip once per pass; all equal, bitwise", steps_lost=0, back_s=max([*back[1:], last.back_s]))


def killed_after_two(broken: TrainingRun) -> Path:
    """Kill a run that has checkpoints of steps 3 and 6; returns the newer one."""
    broken.words["steps.checkpoint_every"] = 3
    assert broken.attempt(killed(7, complete=6)).code == -9
    assert broken.store.steps() == [3, 6]
    return broken.store.path(6)


@pytest.mark.fault("12", "truncated checkpoint file", injected="the newest checkpoint's largest file cut to half")
def test_a_truncated_checkpoint_is_skipped(
    broken: TrainingRun, whole: TrainingRun, record_outcome: RecordOutcome
) -> None:
    newest = killed_after_two(broken)
    victim = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    size = victim.stat().st_size
    with victim.open("r+b") as file:
        file.truncate(size // 2)
    lost = 7 - broken.newest()
    second = broken.attempt()
    assert second.code == 0, second.err
    (warning,) = (line for line in second.said if "falling back" in line)
    assert re.search(rf"{victim.name} is truncated: found {size // 2} bytes, expected {size}", warning), warning
    assert "falling back to step-00000003" in warning
    assert second.steps[0] == 4
    assert check_same(broken, whole) == [4, 5, 6, 7]
    record_outcome("file and sizes named, the checkpoint before is used", steps_lost=lost, back_s=second.back_s)


@pytest.mark.fault("13", "flipped byte in a checkpoint shard", injected="one byte of the newest shard xor 1")
def test_a_flipped_byte_is_never_loaded(broken: TrainingRun, whole: TrainingRun, record_outcome: RecordOutcome) -> None:
    newest = killed_after_two(broken)
    (victim,) = newest.rglob("*.distcp")
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    lost = 7 - broken.newest()
    second = broken.attempt()
    assert second.code == 0, second.err
    (warning,) = (line for line in second.said if "falling back" in line)
    assert re.search(rf"{victim.name} is damaged: found sha256 [0-9a-f]+, expected [0-9a-f]+", warning), warning
    assert second.steps[0] == 4
    assert check_same(broken, whole) == [4, 5, 6, 7]
    record_outcome("file and sha256 named, the checkpoint before is used", steps_lost=lost, back_s=second.back_s)
