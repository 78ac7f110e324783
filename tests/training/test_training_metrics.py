"""Training metrics: means since the last report, and the throughput of training alone."""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from clock import Clock
from lightning import Callback, Trainer
from tiny_phase import fit as fit_in
from tiny_phase import phase_of, steps
from torch import nn

from talkies.checkpoints.manifest import MANIFEST, write_manifest
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.resilience.activity import Activity, Steps
from talkies.training import metrics as metrics_module
from talkies.training.metrics import ResumeClock, TrainingMetrics

PAUSE_S, READ_S = 0.4, 0.1


class Slow(Callback):
    """A checkpoint or a validation that takes its time after every step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_end(self, *_: Any) -> None:
        self.clock.now += PAUSE_S


class Kept(Callback):
    """Collects the outputs of every micro-batch, as the step returned them."""

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
        callbacks=[metrics, *others, ResumeClock(metrics)], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(phase_of(build, steps(4, accumulate=accumulate)), datamodule=data)
    return found


@pytest.mark.parametrize("paused", [False, True])
def test_throughput_includes_the_wait_for_the_loader_but_not_checkpoints_and_validation(
    shards: ShardSet, build: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch, *, paused: bool
) -> None:
    clock, read = Clock(), ShardSet.read

    def slow(self: ShardSet, *args: Any) -> Any:
        clock.now += READ_S
        return read(self, *args)

    monkeypatch.setattr(ShardSet, "read", slow)
    monkeypatch.setattr(metrics_module, "time", clock)
    found = fit(shards, build, every=2, others=[Slow(clock)] if paused else [])
    assert [step for step, _ in found] == [2, 4]
    assert found[1][1]["train/clips_per_second"] == pytest.approx(1 / READ_S)


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


CLOCKS = {"train/clips_per_second", "train/data_seconds"}
Points = list[tuple[int, str, float | None]]


def curves(
    shards: ShardSet, build: Callable[[], nn.Module], folder: Path, *, stops: Sequence[int], every: int, accumulate: int
) -> Points:
    """Every point of a run of 13 steps that is stopped after `stops`; those of a clock without their value."""
    points: Points = []

    def sink(values: Mapping[str, float], step: int) -> None:
        points.extend((step, key, None if key in CLOCKS else value) for key, value in sorted(values.items()))

    for stop in (*stops, None):
        work = Activity()
        work.begin()
        metrics = TrainingMetrics(every=every, bins=4, sink=sink, own=work.own)
        _, after, _ = fit_in(
            shards, build, folder, 13, stop_at=stop, before=[Steps(work), metrics], after=[ResumeClock(metrics)],
            saved_as={"metrics": metrics}, accumulate=accumulate, profiler=work,
        )  # fmt: skip
        assert after.stop.stopped_by == (None if stop is None else f"--stop-at {stop}")
    return points


@pytest.mark.parametrize(("every", "accumulate"), [(1, 2), pytest.param(4, 1, marks=pytest.mark.slow)])
def test_a_stopped_run_has_the_curves_of_an_uninterrupted_one(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, every: int, accumulate: int
) -> None:
    stops = sorted(random.Random(10 * every + accumulate).sample(range(1, 13), 3))
    whole = curves(shards, build, tmp_path / "whole", stops=(), every=every, accumulate=accumulate)
    parts = curves(shards, build, tmp_path / "parts", stops=stops, every=every, accumulate=accumulate)
    assert parts == whole, stops
    assert {step for step, _, _ in whole} == set(range(every, 14, every))
    assert {"train/audio/bin1", "train/video/bin3", *CLOCKS} <= {key for _, key, _ in whole}


def test_a_run_continues_from_an_old_checkpoint_without_gathered_metrics(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    _, after, _ = fit_in(shards, build, tmp_path, 6, stop_at=3)
    (checkpoint,) = after.checkpoint_callback.store.folder.glob("step-*")
    for name in ("gathered-00000.json", MANIFEST):
        (checkpoint / name).unlink()
    write_manifest(checkpoint, 3)
    found: list[int] = []
    metrics = TrainingMetrics(every=6, bins=2, sink=lambda _, step: found.append(step))
    fit_in(shards, build, tmp_path, 6, before=[metrics], saved_as={"metrics": metrics})
    assert found == [6]


@pytest.mark.parametrize(("ranks", "share"), [(1, 1), (2, 1), (3, 1), (4, 2)])
def test_gathered_metrics_keep_their_means_on_another_number_of_ranks(ranks: int, share: int) -> None:
    """Also in sequence groups, whose ranks count the same clips."""
    old = [TrainingMetrics(every=9, bins=2, sink=lambda *_: None, share=2) for _ in range(4)]
    for rank, metrics in enumerate(old):
        metrics._add("train/audio", torch.tensor([rank // 2 + 0.5, 1.25]), torch.tensor(2))
        metrics._clips += 2
    states = [metrics.state_dict() for metrics in old]
    new = [TrainingMetrics(every=9, bins=2, sink=lambda *_: None, share=share) for _ in range(ranks)]
    for rank, metrics in enumerate(new):
        metrics.load_state_dicts(states[rank::ranks], torch.device("cpu"))
    sums = sum(float(metrics._sums["train/audio"]) for metrics in new)
    assert sums / sum(float(metrics._counts["train/audio"]) for metrics in new) == pytest.approx((0.5 + 1.5 + 2.5) / 4)
    assert sum(metrics._clips for metrics in new) / share == 4
