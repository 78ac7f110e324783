"""A signal stops training at a step boundary, once everything is saved; late signals stay pending."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from lightning import Callback, Trainer
from tiny_phase import fit, same
from torch import Tensor, nn

from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.state import save_state
from talkies.checkpoints.store import CheckpointStore
from talkies.config import Interruption
from talkies.data.shards import ShardSet
from talkies.signals.answer import check_signal, listening
from talkies.training import async_writer


class Signal(Callback):
    """Sends signals in the middle of step 2."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def on_before_zero_grad(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        for number in self.numbers if trainer.global_step == 2 else ():
            os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ((signal.SIGTERM,), "SIGTERM"),
        ((signal.SIGHUP,), "SIGHUP"),
        ((signal.SIGTERM, signal.SIGTERM), "SIGTERM"),
        ((signal.SIGTERM, signal.SIGUSR1), "SIGTERM"),
        ((signal.SIGINT, signal.SIGINT, signal.SIGINT), "SIGINT"),
    ],
    ids=["once", "terminal gone", "twice", "and preempted", "ctrl-c three times"],
)
def test_a_signal_saves_at_the_next_step_boundary(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, sent: tuple[int, ...], name: str
) -> None:
    """A scheduler may signal the launcher and its processes, and the launcher signals them again."""
    phase, after, _ = fit(shards, build, tmp_path / "run", 8, extra=[Signal(*sent)])
    assert after.stop.stopped_by == name
    assert phase.trainer.global_step == 3
    latest = CheckpointStore(tmp_path / "run").latest()
    assert latest is not None
    assert read_loop(latest)["step"] == 3


class Preempted(Callback):
    """Signals a preemption twice, in the middle of a step."""

    def __init__(self, step: int, *more: int) -> None:
        self.step, self.more = step, more

    def on_before_zero_grad(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == self.step:
            for number in (signal.SIGUSR1, signal.SIGUSR1, *self.more):
                os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("preempted", "stopped_by", "pending"),
    [
        (Preempted(2), "SIGUSR1", False),
        (Preempted(2, signal.SIGTERM), "SIGTERM", False),
        (Preempted(7), "SIGUSR1", True),
    ],
    ids=["stops", "and ended", "at the last step"],
)
def test_a_preemption_stops_training_or_stays_pending(
    shards: ShardSet,
    build: Callable[[], nn.Module],
    tmp_path: Path,
    *,
    preempted: Preempted,
    stopped_by: str,
    pending: bool,
) -> None:
    """At the last step nothing is left to stop, and the next `check_signal` finds the signal; an end overrules a
    preemption."""
    with listening():
        phase, after, _ = fit(shards, build, tmp_path / "run", 8, extra=[preempted])
        with pytest.raises(Interruption, match=r"by SIGUSR1$") if pending else nullcontext():
            check_signal()
    assert after.stop.stopped_by == stopped_by
    assert CheckpointStore(tmp_path / "run").steps()[-1] == phase.trainer.global_step == preempted.step + 1


@pytest.mark.fault("6", "second signal during save", injected="SIGUSR1, and SIGTERM while its checkpoint is written")
def test_a_second_signal_while_the_checkpoint_is_written_changes_nothing(
    shards: ShardSet,
    build: Callable[[], nn.Module],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_outcome: Callable[..., None],
) -> None:
    def slow(folder: Path, **state: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
        save_state(folder, **state)

    monkeypatch.setattr(async_writer, "save_state", slow)
    with listening():
        began = time.monotonic()
        _, after, _ = fit(shards, build, tmp_path / "run", 8, extra=[Signal(signal.SIGUSR1)])
        seconds = time.monotonic() - began
        check_signal()  # no signal is pending
    assert after.stop.stopped_by == "SIGUSR1"
    latest = CheckpointStore(tmp_path / "run").latest()
    assert latest is not None
    assert read_loop(latest)["step"] == 3
    record_outcome("the save completes, the run still ends as preempted", steps_lost=0, back_s=seconds)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_the_last_step_stays_pending(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, number: signal.Signals
) -> None:
    with listening():
        fit(shards, build, tmp_path / "run", 3, extra=[Signal(number)])
        assert CheckpointStore(tmp_path / "run").steps() == [3]
        with pytest.raises(Interruption, match=rf"by {number.name}$"):
            check_signal()


class InsideAStep(Callback):
    """Sends a signal while micro-batch `micro` of optimizer step 3 is trained on."""

    def __init__(self, micro: int) -> None:
        self.micro = micro

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx == 2 * 4 + self.micro - 1:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.fault("b", "save requested inside an accumulation", injected="SIGTERM in micro-batch 1, 2 or 4 of 4")
@pytest.mark.parametrize("micro", [2, *(pytest.param(micro, marks=pytest.mark.slow) for micro in (1, 4))])
def test_a_save_requested_inside_an_accumulation_waits_for_its_end(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, micro: int, record_outcome: Callable[..., None]
) -> None:
    """A checkpoint does not hold the gradients of half a step."""
    whole, undisturbed, ids = fit(shards, build, tmp_path / "whole", 6, accumulate=4)
    stopped, after, seen = fit(shards, build, tmp_path / "parts", 6, accumulate=4, extra=[InsideAStep(micro)])
    assert after.stop.stopped_by == "SIGTERM"
    assert (stopped.trainer.global_step, len(seen.seen)) == (3, 12), "all four micro-batches, and none of the next step"
    assert after.checkpoint_callback.store.steps() == [3]
    resumed, restored, more = fit(shards, build, tmp_path / "parts", 6, accumulate=4)
    assert seen.seen + more.seen == ids.seen
    assert same(dict(whole.model.state_dict()), dict(resumed.model.state_dict()))
    assert same(undisturbed.ema_callback.ema.averages, restored.ema_callback.ema.averages)
    record_outcome("saved after micro-batch 4 of 4; equal, bitwise", steps_lost=0)
