"""N steps = stop + resume, bitwise; experts take turns; a signal stops at a step boundary."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from tiny_phase import phase_of, steps
from torch import Tensor, nn

from talkies.checkpoints.state import read_loop
from talkies.checkpoints.store import CheckpointStore
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.parallel.ranks import Ranks
from talkies.training.config import EmaConfig, LoraConfig
from talkies.training.guard import NonFiniteError
from talkies.training.lora import add_lora
from talkies.training.phase import Phase
from talkies.training.saving import Saving, capture, rewind


class Ids(Callback):
    """Records what every micro-batch held and which expert trained."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, tuple[str, ...], tuple[int, ...], float]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append((trainer.global_step, batch.ids, batch.visits, float(outputs["loss"])))


def fit(
    shards: ShardSet,
    build: Callable[[], nn.Module],
    folder: Path,
    count: int,
    *,
    stop_at: int | None = None,
    workers: int = 0,
    extra: list[Callback] | None = None,
    **durations: int,
) -> tuple[Phase, Saving, Ids]:
    store, planned = CheckpointStore(folder), steps(count, **durations)
    latest = store.latest()
    data = ClipsData(shards, seed=7, global_batch=4, accumulate=planned.accumulate, workers=workers)
    phase, ids = phase_of(build, planned), Ids()
    saving = Saving(store, planned, EmaConfig(decay=0.9), data, resume=latest, stop_at=stop_at)
    trainer = Trainer(
        accelerator="cpu", max_epochs=-1, max_steps=count, accumulate_grad_batches=planned.accumulate,
        callbacks=[ids, saving, *(extra or [])], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    if latest is not None:
        rewind(trainer, data, read_loop(latest))
    torch.manual_seed(11)  # what the entry point does
    trainer.fit(phase, datamodule=data)
    return phase, saving, ids


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(("accumulate", "workers"), [(1, 0), (2, 0), (1, 2)])
@pytest.mark.fault("d", "EMA resume equality", injected="stops after steps 3 and 5 of 8")
def test_resumed_equals_uninterrupted_bitwise(
    shards: ShardSet,
    build: Callable[[], nn.Module],
    tmp_path: Path,
    *,
    accumulate: int,
    workers: int,
    told: Callable[..., None],
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
    told("averages equal, bitwise", steps_lost=0)


@pytest.mark.fault("e", "LoRA-only resume equality", injected="stop after step 3 of 6, dropout 0.1")
def test_lora_resumes_bitwise_from_its_adapter_alone(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, told: Callable[..., None]
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
    told("the checkpoint holds the adapter alone; equal, bitwise", steps_lost=0)


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


def test_a_signal_that_comes_while_the_others_are_asked_counts_in_the_next_step(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All ranks must do the same: what one of them heard after it had answered, the others do not know."""
    asked: list[bool] = []

    def answered(self: Ranks, flag: bool) -> bool:
        asked.append(flag)
        if len(asked) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return flag

    monkeypatch.setattr(Ranks, "any", answered)
    phase, saving, _ = fit(shards, build, tmp_path / "run", 8)
    assert asked == [False, False, True]
    assert phase.trainer.global_step == 3
    assert saving.stopped_by == "SIGTERM"
    assert CheckpointStore(tmp_path / "run").steps() == [3]


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

    with pytest.raises(NonFiniteError, match=r"step 0: .* audio\.head\.head\.bias"):
        fit(shards, remembered, tmp_path / "run", 8, extra=[Poison()])
    assert same(dict(kept[0].state_dict()), dict(build().state_dict()))
