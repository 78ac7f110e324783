"""N steps = stop + resume, bitwise; experts take turns; a signal stops at a step boundary."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from tiny_phase import fit, same
from torch import nn

from talkies.checkpoints.state import read_loop, save_state
from talkies.checkpoints.store import CheckpointStore
from talkies.data.shards import ShardSet
from talkies.training import writing
from talkies.training.config import LoraConfig
from talkies.training.lora import add_lora
from talkies.training.phase import NonFiniteError, Phase
from talkies.training.saving import capture


@pytest.mark.parametrize(("accumulate", "workers"), [(1, 0), (2, 0), (1, 2)])
def test_resumed_equals_uninterrupted_bitwise(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, accumulate: int, workers: int
) -> None:
    whole, kept, ids = fit(shards, build, tmp_path / "whole", 8, accumulate=accumulate)
    parts: list[Any] = []
    for stop in (3, 5, None):
        phase, saving, seen = fit(
            shards, build, tmp_path / "parts", 8, stop_at=stop, accumulate=accumulate, workers=workers
        )
        parts += seen.seen
    assert parts == ids.seen
    assert same(dict(whole.model.state_dict()), dict(phase.model.state_dict()))
    assert kept.ema is not None
    assert saving.ema is not None
    assert same(kept.ema.averages, saving.ema.averages)
    states = [
        capture(p.trainer, p, s.ema, s.data)["optimizer"]
        for p, s in ((whole, kept), (phase, saving))
        if s.ema is not None
    ]
    assert same(*states)
    assert states[0]


def test_lora_resumes_bitwise_from_its_adapter_alone(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    def adapted() -> nn.Module:
        model = build()
        add_lora(model, LoraConfig(rank=2, dropout=0.1), seed=1)
        return model

    whole, _, _ = fit(shards, adapted, tmp_path / "whole", 6)
    fit(shards, adapted, tmp_path / "parts", 6, stop_at=3)
    resumed, _, _ = fit(shards, adapted, tmp_path / "parts", 6)
    equal = same(dict(whole.model.state_dict()), dict(resumed.model.state_dict()))
    assert equal
    base = dict(build().state_dict())
    frozen = {
        name.replace(".base_layer", ""): p for name, p in whole.model.state_dict().items() if ".lora_" not in name
    }
    assert same(base, frozen)


def test_experts_take_turns_and_the_resting_one_is_untouched(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    first, _, _ = fit(shards, build, tmp_path / "one", 1)
    start = dict(build().state_dict())
    after = dict(first.model.state_dict())
    assert all(torch.equal(after[k], start[k]) for k in start if k.startswith("video_low."))
    assert any(not torch.equal(after[k], start[k]) for k in start if k.startswith("video_high."))
    second, _, _ = fit(shards, build, tmp_path / "two", 2)
    later = dict(second.model.state_dict())
    assert all(torch.equal(later[k], after[k]) for k in start if k.startswith("video_high."))
    assert any(not torch.equal(later[k], after[k]) for k in start if k.startswith("video_low."))


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


class Poison(Callback):
    """Makes one gradient infinite."""

    def on_after_backward(self, trainer: Trainer, pl_module: Phase) -> None:
        pl_module.model.audio.head.head.bias.grad.fill_(float("inf"))  # type: ignore[union-attr]


def test_a_gradient_that_is_not_finite_is_refused_before_the_weights_change(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    kept: list[nn.Module] = []

    def remembered() -> nn.Module:
        kept.append(build())
        return kept[0]

    with pytest.raises(NonFiniteError, match=r"step 0 .* audio\.head\.head\.bias"):
        fit(shards, remembered, tmp_path / "run", 8, extra=[Poison()])
    assert same(dict(kept[0].state_dict()), dict(build().state_dict()))
