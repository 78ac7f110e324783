"""Training with known latent steps: the network sees them clean, and neither loss nor gradient comes from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from tiny_phase import steps
from tiny_shards import TOY, tiny_shards
from torch import Tensor, nn

from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.flow.config import FlowConfig, UniformGridSchedule, ZeroSnrVPredictionTarget
from talkies.flow.known import known_by
from talkies.flow.known_config import KnownFrames
from talkies.streams.batch import Batch, Condition, Stream
from talkies.streams.system import Component, Parts
from talkies.training.config import OptimizerConfig
from talkies.training.metrics import TrainingMetrics
from talkies.training.phase import Objective, Phase

FRAMES = KnownFrames(head=0.4, random=0.4)
STEPS = 6


class Net(nn.Module):
    """Each latent step's prediction from that step and its noise level; `seen` lists the streams of every call."""

    def __init__(self) -> None:
        super().__init__()
        channels = TOY.video.out_channels
        self.net = nn.Linear(channels + 1, channels)
        self.seen: list[Stream] = []

    def forward(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        """Levels [B] or [B, T]."""
        video = streams["video"]
        self.seen.append(video)
        x = video.latent.movedim(1, -1)
        time = video.time.view(len(x), -1, 1, 1, 1).expand(*x.shape[:-1], 1)
        return {"video": self.net(torch.cat([x, time], -1)).movedim(-1, 1)}


class Kept(Callback):
    """Batches, and what their steps returned."""

    def __init__(self) -> None:
        self.found: list[tuple[Batch, Mapping[str, Any]]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.found.append((batch, outputs))


def trained(folder: Path, known: Mapping[str, KnownFrames]) -> tuple[Phase, Kept, list[dict[str, float]]]:
    components = {"net": Component(section="net", shape={}, reads=("video",), rate="all", width=2)}
    objective = Objective(
        flow=FlowConfig(schedule=UniformGridSchedule(), target=ZeroSnrVPredictionTarget()),
        parts=Parts(components=frozenset(components), targets={"video": 1.0}, known=known),
        inputs=dict,
        components=components,
        seed=5,
    )
    phase = Phase(Net, objective, OptimizerConfig(lr={"all": 1e-2}), steps(STEPS))
    reports: list[dict[str, float]] = []
    kept = Kept()
    metrics = TrainingMetrics(every=STEPS, bins=2, sink=lambda values, _: reports.append(dict(values)))
    trainer = Trainer(
        accelerator="cpu", max_epochs=-1, max_steps=STEPS, callbacks=[kept, metrics], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        num_sanity_val_steps=0,
    )  # fmt: skip
    torch.manual_seed(11)
    shards = ShardSet.open(tiny_shards(folder, width=2))
    trainer.fit(phase, datamodule=ClipsData(shards, seed=7, global_batch=4, accumulate=1))
    return phase, kept, reports


def test_known_steps_are_clean_and_the_others_are_as_without(tmp_path: Path) -> None:
    plain, _, _ = trained(tmp_path / "plain", {})
    phase, kept, _ = trained(tmp_path / "known", {"video": FRAMES})
    hidden = 0
    for without, seen, (batch, _) in zip(plain.model.seen, phase.model.seen, kept.found, strict=True):
        known = known_by(batch, {"video": FRAMES}, seed=5)["video"]
        hidden += int(known.sum())
        assert torch.equal(seen.time, without.time[:, None].expand(4, 3).masked_fill(known, 0.0))
        chosen = known[:, None, :, None, None].expand_as(seen.latent)
        assert torch.equal(seen.latent[chosen], batch.streams["video"].latent[chosen])
        assert torch.equal(seen.latent[~chosen], without.latent[~chosen])
    assert hidden > STEPS


def test_losses_by_noise_level_are_those_of_the_samples_levels(tmp_path: Path) -> None:
    """A sample belongs to the bin of the steps that are made."""
    _, kept, reports = trained(tmp_path / "known", {"video": FRAMES})
    losses, levels = (torch.cat([outputs[key]["video"] for _, outputs in kept.found]) for key in ("losses", "times"))
    assert losses.shape == levels.shape == (4 * STEPS,)
    assert bool((levels > 0).all())
    (report,) = reports
    assert report["train/video"] == pytest.approx(float(losses.mean()), rel=1e-5)
    for k, chosen in enumerate((levels < 0.5, levels >= 0.5)):
        assert report[f"train/video/bin{k}"] == pytest.approx(float(losses[chosen].mean()), rel=1e-5)


def test_known_steps_must_be_of_a_trained_stream() -> None:
    parts = Parts(components=frozenset(), targets={"video": 1.0}, known={"audio": FRAMES})
    with pytest.raises(AssertionError, match="known steps of a stream that is not trained"):
        Objective(flow=FlowConfig(), parts=parts, inputs=dict, components={}, seed=0)
