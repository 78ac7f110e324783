"""A phase of the toy preset over tiny shards."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.profilers import Profiler
from tiny_shards import grids, network, objective, tiny_shards
from torch import Tensor, nn

from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.store import CheckpointStore
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.resilience.guard import Guard
from talkies.training.after_step import AfterStep, after_step
from talkies.training.checkpoint_callback import rewind
from talkies.training.config import EmaConfig, OptimizerConfig, StepsConfig
from talkies.training.phase import Phase

GRIDS = grids(2)


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    return ShardSet.open(tiny_shards(tmp_path / "tiny", width=2))


@pytest.fixture
def build() -> Callable[[], nn.Module]:
    return network


def steps(count: int, **changed: int) -> StepsConfig:
    return StepsConfig(**{"max": count, "global_batch": 4, "checkpoint_every": 100, **changed})


def phase_of(
    build: Callable[[], nn.Module], durations: StepsConfig, guard: Guard | None = None, kind: type[Phase] = Phase
) -> Phase:
    rates = {"towers": 1e-3, "bridge": 2e-3}
    return kind(build, objective(), OptimizerConfig(lr=rates, warmup=2, schedule="cosine"), durations, guard)


class Ids(Callback):
    """Records step, ids, visits and loss of every micro-batch."""

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
    saved_as: dict[str, Any] | None = None,
    guard: Guard | None = None,
    kind: type[Phase] = Phase,
    before: Sequence[Callback] = (),
    after: Sequence[Callback] = (),
    profiler: Profiler | None = None,
    **durations: int,
) -> tuple[Phase, AfterStep, Ids]:
    """Train to step `count`, or continue in `folder`; optionally with more callbacks (before or after those of
    `after_step`), other options of CheckpointCallback (`saved_as`), a guard, and another kind of phase."""
    store, planned = CheckpointStore(folder), steps(count, **durations)
    latest = store.latest()
    data = ClipsData(shards, seed=7, global_batch=4, accumulate=planned.accumulate, workers=workers)
    phase, ids = phase_of(build, planned, guard, kind), Ids()
    after_fit = after_step(store, planned, EmaConfig(decay=0.9), data, resume=latest, stop_at=stop_at, **saved_as or {})
    trainer = Trainer(
        accelerator="cpu", max_epochs=-1, max_steps=count, accumulate_grad_batches=planned.accumulate,
        callbacks=[ids, *before, *after_fit.callbacks, *(extra or []), *after], profiler=profiler, logger=False,
        enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    if latest is not None:
        rewind(trainer, data, read_loop(latest))
    torch.manual_seed(11)  # what the entry point does
    trainer.fit(phase, datamodule=data)
    return phase, after_fit, ids


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
