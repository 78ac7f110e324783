"""What training reports: means since the last report, and a throughput of training alone."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from tiny_phase import phase_of, steps
from torch import nn

from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.training.metrics import ClockOn, TrainingMetrics

PAUSE_S = 0.4


class Slow(Callback):
    """A checkpoint or a validation that takes its time after every step."""

    def on_train_batch_end(self, *_: Any) -> None:
        time.sleep(PAUSE_S)


class Kept(Callback):
    """The losses and times of every micro-batch, as the step returned them."""

    def __init__(self) -> None:
        self.outputs: list[Mapping[str, Any]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.outputs.append(outputs)


def fit(
    shards: ShardSet, build: Callable[[], nn.Module], *, every: int, others: list[Callback], accumulate: int = 1
) -> list[tuple[int, dict[str, float]]]:
    found: list[tuple[int, dict[str, float]]] = []
    metrics = TrainingMetrics(every=every, bins=2, sink=lambda values, step: found.append((step, dict(values))))
    data = ClipsData(shards, seed=7, global_batch=4, accumulate=accumulate)
    trainer = Trainer(
        accelerator="cpu", max_epochs=-1, max_steps=4, accumulate_grad_batches=accumulate,
        callbacks=[metrics, *others, ClockOn(metrics)], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(phase_of(build, steps(4, accumulate=accumulate)), datamodule=data)
    return found


def test_throughput_leaves_checkpoints_and_validation_out(shards: ShardSet, build: Callable[[], nn.Module]) -> None:
    found = fit(shards, build, every=2, others=[Slow()])
    assert [step for step, _ in found] == [2, 4]
    counted = 8 / found[1][1]["train/clips_per_second"]
    assert 0 < counted < 2 * PAUSE_S, f"{counted:.2f} s for two steps and {2 * PAUSE_S} s of pauses"


def test_throughput_holds_the_wait_for_the_loader(
    shards: ShardSet, build: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ShardSet.read

    def slow(self: ShardSet, *args: Any) -> Any:
        time.sleep(PAUSE_S / 4)
        return read(self, *args)

    monkeypatch.setattr(ShardSet, "read", slow)
    found = fit(shards, build, every=4, others=[])
    assert 16 / found[0][1]["train/clips_per_second"] > 3 * PAUSE_S


@pytest.mark.parametrize("accumulate", [1, 2])
def test_means_are_those_of_the_steps_since_the_last_report(
    shards: ShardSet, build: Callable[[], nn.Module], accumulate: int
) -> None:
    kept = Kept()
    found = fit(shards, build, every=2, others=[kept], accumulate=accumulate)
    for number, (step, metrics) in enumerate(found):
        assert step == 2 * (number + 1)
        part = kept.outputs[number * 2 * accumulate : (number + 1) * 2 * accumulate]
        loss = torch.stack([x["loss"].detach() for x in part]).mean()
        assert metrics["train/loss"] == pytest.approx(float(loss), rel=1e-5)
        for m in ("video", "audio"):
            losses = torch.cat([x["losses"][m] for x in part])
            upper = torch.cat([x["times"][m] for x in part]) >= 0.5
            assert metrics[f"train/{m}"] == pytest.approx(float(losses.mean()), rel=1e-5)
            for k, chosen in enumerate((~upper, upper)):
                if chosen.any():
                    expected = float(losses[chosen].mean())
                    assert metrics[f"train/{m}/bin{k}"] == pytest.approx(expected, rel=1e-5)
                else:
                    assert f"train/{m}/bin{k}" not in metrics
