"""N steps = stop + resume, bitwise; experts alternate; a killed save leaves no checkpoint."""

import multiprocessing
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

from talkies.checkpoints import state as state_module
from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.state import load_state
from talkies.checkpoints.store import CheckpointStore, CheckpointWarning
from talkies.data.shards import ShardSet
from talkies.files.tensors import write_tensors
from talkies.resilience.guard import NonFiniteError
from talkies.training.checkpoint_callback import capture
from talkies.training.config import LoraConfig
from talkies.training.lora import add_lora
from talkies.training.phase import Phase


@pytest.mark.parametrize(("accumulate", "workers"), [pytest.param(1, 0, marks=pytest.mark.slow), (2, 0), (1, 2)])
@pytest.mark.fault("d", "EMA resume equality", injected="stops after steps 3 and 5 of 8")
def test_resumed_equals_uninterrupted_bitwise(
    shards: ShardSet,
    build: Callable[[], nn.Module],
    tmp_path: Path,
    *,
    accumulate: int,
    workers: int,
    record_outcome: Callable[..., None],
) -> None:
    whole, undisturbed, ids = fit(shards, build, tmp_path / "whole", 8, accumulate=accumulate)
    parts: list[Any] = []
    for stop in (3, 5, None):
        phase, after, seen = fit(
            shards, build, tmp_path / "parts", 8, stop_at=stop, accumulate=accumulate, workers=workers
        )
        parts += seen.seen
    assert parts == ids.seen
    assert same(dict(whole.model.state_dict()), dict(phase.model.state_dict()))
    assert same(undisturbed.ema_callback.ema.averages, after.ema_callback.ema.averages)
    states = [
        capture(p.trainer, p, s.ema_callback.ema, s.checkpoint_callback.data)["optimizer"]
        for p, s in ((whole, undisturbed), (phase, after))
    ]
    assert same(*states)
    assert states[0]
    record_outcome("averages equal, bitwise", steps_lost=0)


@pytest.mark.fault("e", "LoRA-only resume equality", injected="stop after step 3 of 6, dropout 0.1")
def test_lora_resumes_bitwise_from_its_adapter_alone(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, record_outcome: Callable[..., None]
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
    record_outcome("the checkpoint holds the adapter alone; equal, bitwise", steps_lost=0)


def test_experts_alternate_and_the_inactive_one_is_unchanged(
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


@pytest.mark.faults
@pytest.mark.fault("8", "crash between shards and loop.json", injected="SIGKILL between the two, while training")
def test_killed_between_shards_and_loop_a_run_continues_from_one_step(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    """Never from the weights of one step with the counters of another."""

    def dies(path: Path, tensors: Any) -> None:
        if path.parent.name == "step-00000004.tmp":
            os.kill(os.getpid(), signal.SIGKILL)
        write_tensors(path, tensors)

    def killed() -> None:
        state_module.write_tensors = dies
        fit(shards, build, tmp_path / "run", 40, checkpoint_every=2)

    child = multiprocessing.get_context("fork").Process(target=killed)
    child.start()
    child.join(200)
    assert child.exitcode == -signal.SIGKILL
    assert (tmp_path / "run" / "step-00000004.tmp" / "shards" / ".metadata").exists(), "all shards are there"
    began = time.monotonic()
    latest = CheckpointStore(tmp_path / "run").latest()
    back = time.monotonic() - began
    assert latest is not None
    assert read_loop(latest)["step"] == 2
    like = dict(build().named_parameters())
    moments = load_state(latest, model=like, ema=like).optimizer
    assert {int(value) for name, value in moments.items() if name.endswith("audio.head.head.bias/step")} == {2}
    with pytest.warns(CheckpointWarning, match=r"step-00000004\.tmp, left incomplete by a killed process"):
        resumed, _, _ = fit(shards, build, tmp_path / "run", 6)
    whole, _, _ = fit(shards, build, tmp_path / "whole", 6)
    assert same(dict(whole.model.state_dict()), dict(resumed.model.state_dict()))
    record_outcome("continues from the step before: moments and counters are of one step", steps_lost=2, back_s=back)


class Poison(Callback):
    """Makes one gradient infinite."""

    def on_after_backward(self, trainer: Trainer, pl_module: Phase) -> None:
        pl_module.model.audio.head.head.bias.grad.fill_(float("inf"))  # type: ignore[union-attr]


@pytest.mark.fault("19", "non-finite gradient with a finite loss", injected="one gradient set to infinity")
def test_a_gradient_that_is_not_finite_is_refused_before_the_weights_change(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    models: list[nn.Module] = []

    def remembered() -> nn.Module:
        models.append(build())
        return models[0]

    with pytest.raises(NonFiniteError, match=r"step 1: .* audio\.head\.head\.bias"):
        fit(shards, remembered, tmp_path / "run", 8, extra=[Poison()])
    assert same(dict(models[0].state_dict()), dict(build().state_dict()))
