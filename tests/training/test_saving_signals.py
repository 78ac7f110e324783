"""A signal stops training at a step boundary, once all is saved; and who hears of it."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning import Callback, Trainer
from tiny_phase import fit, same
from torch import Tensor, nn

from talkies.checkpoints.state import read_loop, save_state
from talkies.checkpoints.store import CheckpointStore
from talkies.data.shards import ShardSet
from talkies.training import writing


class Signal(Callback):
    """Sends signals in the middle of step 2."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def on_before_zero_grad(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        for number in self.numbers if trainer.global_step == 2 else ():
            os.kill(os.getpid(), number)


@pytest.mark.parametrize("more", [(), (signal.SIGTERM,), (signal.SIGUSR1,)], ids=["once", "twice", "and preempted"])
def test_a_signal_saves_at_the_next_step_boundary(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, more: tuple[int, ...]
) -> None:
    """Whoever ends a job may tell its launcher and its processes, and the launcher tells them again."""
    phase, saving, _ = fit(shards, build, tmp_path / "run", 8, extra=[Signal(signal.SIGTERM, *more)])
    assert saving.stopped_by == "SIGTERM"
    assert phase.trainer.global_step == 3
    latest = CheckpointStore(tmp_path / "run").latest()
    assert latest is not None
    assert read_loop(latest)["step"] == 3


class Preempted(Callback):
    """Tells of a preemption twice, in the middle of a step."""

    def __init__(self, step: int, *more: int) -> None:
        self.step, self.more = step, more

    def on_before_zero_grad(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == self.step:
            for number in (signal.SIGUSR1, signal.SIGUSR1, *self.more):
                os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("preempted", "stopped_by", "heard"),
    [
        (Preempted(2), "SIGUSR1", 0),
        (Preempted(2, signal.SIGTERM), "SIGTERM", 0),
        (Preempted(7), "SIGUSR1", 1),
    ],
    ids=["stops", "and ended", "at the last step"],
)
def test_a_preemption_stops_training_or_is_told_to_who_listened_before(
    shards: ShardSet,
    build: Callable[[], nn.Module],
    tmp_path: Path,
    *,
    preempted: Preempted,
    stopped_by: str,
    heard: int,
) -> None:
    """At the last step nothing is left to stop; an end of the job overrules its preemption."""
    told: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: told.append(number))
    try:
        phase, saving, _ = fit(shards, build, tmp_path / "run", 8, extra=[preempted])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert saving.stopped_by == stopped_by
    assert CheckpointStore(tmp_path / "run").steps()[-1] == phase.trainer.global_step == preempted.step + 1
    assert len(told) == heard


@pytest.mark.fault("6", "second signal during save", injected="SIGUSR1, and SIGTERM while its checkpoint is written")
def test_a_second_signal_while_the_checkpoint_is_written_changes_nothing(
    shards: ShardSet,
    build: Callable[[], nn.Module],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: Callable[..., None],
) -> None:
    def slow(folder: Path, **state: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
        save_state(folder, **state)

    monkeypatch.setattr(writing, "save_state", slow)
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        began = time.monotonic()
        _, saving, _ = fit(shards, build, tmp_path / "run", 8, extra=[Signal(signal.SIGUSR1)])
        seconds = time.monotonic() - began
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (saving.stopped_by, heard) == ("SIGUSR1", [])
    latest = CheckpointStore(tmp_path / "run").latest()
    assert latest is not None
    assert read_loop(latest)["step"] == 3
    told("the save completes, the run still ends as preempted", steps_lost=0, back_s=seconds)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_last_step_goes_to_who_listened_before_once_all_is_saved(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, number: signal.Signals
) -> None:
    heard: list[int] = []
    before = signal.signal(number, lambda *_: heard.append(CheckpointStore(tmp_path / "run").steps()[-1]))
    try:
        fit(shards, build, tmp_path / "run", 3, extra=[Signal(number)])
    finally:
        signal.signal(number, before)
    assert heard == [3]


class InsideAStep(Callback):
    """Sends a signal while micro-batch `micro` of optimizer step 3 is trained on."""

    def __init__(self, micro: int) -> None:
        self.micro = micro

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx == 2 * 4 + self.micro - 1:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.fault("b", "save asked for inside an accumulation", injected="SIGTERM in micro-batch 1, 2 or 4 of 4")
@pytest.mark.parametrize("micro", [1, 2, 4])
def test_a_save_that_is_asked_for_inside_an_accumulation_waits_for_its_end(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, micro: int, told: Callable[..., None]
) -> None:
    """The gradients of half a step are in no checkpoint."""
    whole, kept, ids = fit(shards, build, tmp_path / "whole", 6, accumulate=4)
    stopped, saving, seen = fit(shards, build, tmp_path / "parts", 6, accumulate=4, extra=[InsideAStep(micro)])
    assert saving.stopped_by == "SIGTERM"
    assert (stopped.trainer.global_step, len(seen.seen)) == (3, 12), "all four micro-batches, and none of the next step"
    assert saving.store.steps() == [3]
    resumed, restored, more = fit(shards, build, tmp_path / "parts", 6, accumulate=4)
    assert seen.seen + more.seen == ids.seen
    assert same(dict(whole.model.state_dict()), dict(resumed.model.state_dict()))
    assert kept.ema is not None
    assert restored.ema is not None
    assert same(kept.ema.averages, restored.ema.averages)
    told("saved after micro-batch 4 of 4; equal, bitwise", steps_lost=0)
