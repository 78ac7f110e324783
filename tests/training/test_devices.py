"""A step on another device leaves no tensor on the CPU, and never waits for the host.

Without a GPU the meta device is the other device: PyTorch refuses to mix meta and CPU tensors, as it does with CUDA,
and reading a number from a meta tensor (.item(), bool(), float()) is an error.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from tiny_phase import phase_of, steps
from tiny_shards import SETUP
from torch import nn

from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.store import CheckpointStore
from talkies.data.collate import collate
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.flow.config import EulerSampler, ShiftedSchedule
from talkies.flow.guidance import guided
from talkies.flow.sampler import sample
from talkies.flow.schedule import level_grid
from talkies.models.mova.system import MOVA
from talkies.streams.batch import Batch, Condition
from talkies.training.after_step import after_step
from talkies.training.checkpoint_callback import generators, rewind
from talkies.training.config import EmaConfig, LoraConfig
from talkies.training.lora import add_lora


@pytest.fixture
def batch(shards: ShardSet) -> Batch:
    """Four clips, two of them padded."""
    return collate([shards.read(i) for i in range(4)], [0] * 4, shards.null_texts)


def test_a_training_step_stays_on_the_device_of_its_batch(build: Callable[[], nn.Module], batch: Batch) -> None:
    phase = phase_of(lambda: build().to("meta"), steps(4))
    phase.configure_model()
    assert batch.streams["audio"].mask is not None
    loss = phase.training_step(batch.to("meta"), 0)["loss"]
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    devices = {str(p.grad.device) for p in phase.model.parameters() if p.grad is not None}
    assert devices == {"meta"}
    with pytest.raises(RuntimeError):
        phase.training_step(batch, 0)


def test_guided_sampling_stays_on_the_device_of_its_noise(build: Callable[[], nn.Module], batch: Batch) -> None:
    moved = batch.to("meta")
    streams, scales = MOVA.network().inputs(SETUP, moved.streams), {"text": 5.0, "bridge": 3.5}
    denoiser = guided(build().to("meta"), MOVA.ladder(SETUP), scales, moved.null_texts, steps=3)
    levels = {name: level_grid(ShiftedSchedule(), name, 3) for name in streams}
    with torch.no_grad():
        latents = sample(
            EulerSampler(), denoiser, streams, Condition(texts=moved.texts), levels,
            inactive=MOVA.parts(SETUP).inactive,
        )  # fmt: skip
    assert {str(x.device) for x in latents.values()} == {"meta"}


class Losses(Callback):
    """Appends the loss of every step."""

    def __init__(self, losses: list[float]) -> None:
        self.losses = losses

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]))


def fit(
    shards: ShardSet, build: Callable[[], nn.Module], folder: Path, device: str, stop_at: int | None = None
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses and weights of four steps on `device`, or of the steps that remain after an earlier call."""
    store, planned, losses = CheckpointStore(folder), steps(4), list[float]()
    latest = store.latest()
    data = ClipsData(shards, seed=7, global_batch=4)
    phase = phase_of(build, planned)
    after = after_step(store, planned, EmaConfig(decay=0.9), data, resume=latest, stop_at=stop_at)
    trainer = Trainer(
        accelerator=device, devices=1, max_epochs=-1, max_steps=4, logger=False,
        callbacks=[*after.callbacks, Losses(losses)],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        num_sanity_val_steps=0,
    )  # fmt: skip
    if latest is not None:
        rewind(trainer, data, read_loop(latest))
    torch.manual_seed(11)
    trainer.fit(phase, datamodule=data)
    return losses, {name: p.detach().cpu() for name, p in phase.trainable().items()}


@pytest.mark.gpu
def test_cuda_trains_like_the_cpu(shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path) -> None:
    cpu, _ = fit(shards, build, tmp_path / "cpu", "cpu")
    cuda, _ = fit(shards, build, tmp_path / "cuda", "cuda")
    assert cuda == pytest.approx(cpu, rel=1e-3)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_lora_with_dropout_resumes(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, device: str
) -> None:
    """LoRA's dropout draws from the device's own generator, which a checkpoint holds."""

    def adapted() -> nn.Module:
        model = build()
        add_lora(model, LoraConfig(rank=2, dropout=0.3), seed=1)
        return model

    whole, weights = fit(shards, adapted, tmp_path / "whole", device)
    first, _ = fit(shards, adapted, tmp_path / "parts", device, stop_at=2)
    second, resumed = fit(shards, adapted, tmp_path / "parts", device)
    assert [*first, *second] == pytest.approx(whole, rel=1e-5)
    for name, tensor in weights.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_checkpoint_holds_the_generators_that_a_step_draws_from() -> None:
    assert set(generators(torch.device("cpu"))) == {"torch"}


@pytest.mark.gpu
def test_a_checkpoint_holds_the_generator_of_cuda() -> None:
    assert set(generators(torch.device("cuda", 0))) == {"torch", "cuda"}
