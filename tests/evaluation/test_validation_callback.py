"""Validation inside a real fit: when it runs, and that it does not affect training."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader

from talkies.evaluation.validation import ValidationCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Found 1 module.s. in eval mode"),
    # Lightning 2.6.6 with torch 2.13.
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning"),
]


class Tiny(LightningModule):
    """Dropout and a random target: any disturbance of the generators or the modes changes its weights. It caches a
    table at its first forward, as networks cache positions."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 4))
        self.frozen = nn.Dropout(0.5).eval()
        self.table: Tensor | None = None
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.arange(4.0) + 1
        return self.net(x) * self.table

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        self.modes.append((self.net[1].training, self.frozen.training))
        noise = torch.randn_like(batch) + random.random() + float(np.random.rand())
        return (self(self.frozen(batch)) - noise).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1)


class Log:
    """The two sinks, and a `measure` that draws from every random generator."""

    def __init__(self, module: Tiny, folder: Path) -> None:
        self.module, self.folder = module, folder
        self.metrics: list[tuple[int, float]] = []
        self.media: list[tuple[str, int]] = []
        self.done: list[int] = []

    def measure(self, _: int) -> dict[str, float]:
        assert not torch.is_grad_enabled()
        assert not self.module.training
        assert not self.module.net[1].training
        drawn = torch.rand(7).sum() + random.random() + float(np.random.rand())
        return {"value": float(self.module(torch.ones(1, 4)).sum() + 0 * drawn)}

    def sample(self, step: int) -> list[Path]:
        torch.manual_seed(step)
        path = self.folder / f"{step}.mp4"
        path.write_bytes(b"clip")
        return [path]

    def callback(self, every: int, *, samples: bool = True) -> ValidationCallback:
        return ValidationCallback(
            every=every,
            measure=self.measure,
            sample=self.sample if samples else None,
            sink_metrics=lambda metrics, step: self.metrics.append((step, metrics["value"])),
            sink_media=lambda path, step: self.media.append((path.name, step)),
            recorded=lambda step: step in self.done,
            record=self.done.append,
        )


def fit(module: Tiny, callbacks: list[Callback], *, steps: int = 5, accumulate: int = 2) -> Trainer:
    data = torch.randn(3 * 40, 4, generator=torch.Generator().manual_seed(1))
    options: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = Trainer(
        accelerator="cpu", devices=1, max_steps=steps, max_epochs=-1, accumulate_grad_batches=accumulate,
        callbacks=callbacks, limit_val_batches=0, num_sanity_val_steps=0, **options,
    )  # fmt: skip
    seed_everything(7, verbose=False)
    trainer.fit(module, DataLoader(data, batch_size=3, shuffle=True))
    return trainer


def tiny() -> Tiny:
    seed_everything(0, verbose=False)
    return Tiny()


def test_training_is_bitwise_the_same_with_and_without(tmp_path: Path) -> None:
    plain, watched = tiny(), tiny()
    fit(plain, [])
    log = Log(watched, tmp_path)
    fit(watched, [log.callback(1)])
    assert [step for step, _ in log.metrics] == [1, 2, 3, 4, 5]
    assert len({value for _, value in log.metrics}) == 5, "it measures the weights of its step"
    for key, value in plain.state_dict().items():
        assert torch.equal(watched.state_dict()[key], value), key
    assert set(watched.modes) == {(True, False)}, "every submodule is back in its own mode"


def test_a_network_may_cache_in_validation_what_it_trains_with(tmp_path: Path) -> None:
    """Under inference_mode the table would be an inference tensor, which a backward pass cannot save."""
    module = tiny()

    def forget(step: int) -> dict[str, float]:
        module.table = None
        return {"value": float(module(torch.ones(1, 4)).sum())}

    log = Log(module, tmp_path)
    callback = log.callback(1)
    callback.measure = forget
    fit(module, [callback])
    assert len(log.metrics) == 5


def test_runs_at_due_steps_and_at_the_end_once(tmp_path: Path) -> None:
    log = Log(tiny(), tmp_path)
    fit(log.module, [log.callback(2)], steps=5)
    assert [step for step, _ in log.metrics] == [2, 4, 5]
    assert log.media == [("2.mp4", 2), ("4.mp4", 4), ("5.mp4", 5)]
    log = Log(tiny(), tmp_path)
    fit(log.module, [log.callback(2, samples=False)], steps=4)
    assert [step for step, _ in log.metrics] == [2, 4]
    assert log.media == []


class StopAt(Callback):
    """A signal at a step, as `CheckpointCallback` turns it into a stop."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.should_stop = True


def test_an_interrupted_fit_ends_without_a_validation_that_is_not_due(tmp_path: Path) -> None:
    log = Log(tiny(), tmp_path)
    assert fit(log.module, [StopAt(3), log.callback(2)], steps=8).global_step == 3
    assert [step for step, _ in log.metrics] == [2]


class Rewind(Callback):
    """Begin at a step, as a resumed run does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_fit_start(self, trainer: Trainer, *_: Any) -> None:
        progress = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
        progress.ready = progress.completed = self.step


def test_a_resumed_fit_does_not_repeat_the_step_at_which_it_begins(tmp_path: Path) -> None:
    log = Log(tiny(), tmp_path)
    log.done = [2, 4]
    fit(log.module, [Rewind(4), log.callback(2)], steps=7)
    assert [step for step, _ in log.metrics] == [6, 7]
    assert log.done == [2, 4, 6, 7]


@pytest.mark.parametrize(("begin", "expected"), [(4, [4, 6, 7]), (3, [4, 6, 7]), (0, [2, 4, 6, 7])])
def test_a_resumed_fit_makes_up_for_a_validation_that_a_crash_prevented(
    tmp_path: Path, begin: int, expected: list[int]
) -> None:
    log = Log(tiny(), tmp_path)
    fit(log.module, [Rewind(begin), log.callback(2)], steps=7)
    assert [step for step, _ in log.metrics] == expected
    assert log.done == expected


def test_a_validation_is_recorded_only_after_its_sinks(tmp_path: Path) -> None:
    log = Log(tiny(), tmp_path)
    callback = log.callback(2)

    def refused(path: Path, step: int) -> None:
        raise RuntimeError("no room")

    callback.sink_media = refused
    with pytest.raises(RuntimeError, match="no room"):
        fit(log.module, [callback], steps=4)
    assert log.done == []


def test_modes_are_restored_after_a_failure(tmp_path: Path) -> None:
    module = tiny()

    def broken(step: int) -> dict[str, float]:
        raise RuntimeError("measure failed")

    callback = Log(module, tmp_path).callback(1)
    callback.measure = broken
    with pytest.raises(RuntimeError, match="measure failed"):
        fit(module, [callback])
    assert module.training
    assert not module.frozen.training


@pytest.mark.parametrize("every", [0, -3])
def test_misuse_is_refused(tmp_path: Path, every: int) -> None:
    call: Callable[[int], ValidationCallback] = Log(tiny(), tmp_path).callback
    with pytest.raises(ValueError, match=r"validation\.every"):
        call(every)
