"""A small shard set for the toy preset, and a phase over it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import nn

from talkies.data.clip import Clip, Header
from talkies.data.shards import ShardSet, ShardWriter
from talkies.flow.config import FlowConfig
from talkies.models.build import build_mova
from talkies.models.config import PRESETS, MovaConfig
from talkies.streams import Grid, Modality
from talkies.streams.batch import Text
from talkies.training.config import OptimizerConfig, RatesConfig, StepsConfig
from talkies.training.phase import Objective, Phase

TOY = PRESETS["toy"]
MASK = TOY.video.in_channels - 2 * TOY.video.out_channels
GRIDS: dict[Modality, Grid] = {
    "video": Grid(channels=TOY.video.out_channels, shape=(3, 2, 2), rate=Fraction(6)),
    "audio": Grid(channels=TOY.audio.out_channels, shape=(5,), rate=Fraction(25, 2)),
}
JOINT = frozenset({"video_high", "video_low", "audio", "bridge"})


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    """11 clips: passes over the data end in the middle of a batch."""
    generator = torch.Generator().manual_seed(0)
    null = Text(embedding=torch.zeros(1, 4, TOY.video.text_dim), length=torch.tensor([1]))
    header = Header(
        name="tiny", split="train", geometry="16x16x5@12", fps=12.0, codecs={}, codec_configs={}, null_text=null,
        mask_channels=MASK,
    )  # fmt: skip
    with ShardWriter(tmp_path / "tiny", header, 4) as writer:
        for number in range(11):
            text = torch.zeros(4, TOY.video.text_dim)
            text[:2] = torch.randn(2, TOY.video.text_dim, generator=generator)
            latents = {m: torch.randn(g.latent_shape, generator=generator) for m, g in GRIDS.items()}
            valid = {"video": 3, "audio": 5 - number % 2}
            image = torch.randn(GRIDS["video"].latent_shape, generator=generator)
            writer.add(
                Clip(
                    id=f"clip-{number}", caption=f"clip {number}", latents=latents, valid=valid, grids=GRIDS,
                    image=image, text=text, text_length=2,
                )
            )  # fmt: skip
    return ShardSet.open(tmp_path / "tiny")


@pytest.fixture
def build() -> Callable[[], nn.Module]:
    return lambda: build_mova(MovaConfig(preset="toy"), components=JOINT, seed=3)


def steps(count: int, **changed: int) -> StepsConfig:
    return StepsConfig(**{"max": count, "global_batch": 4, "checkpoint_every": 100, **changed})


def phase_of(build: Callable[[], nn.Module], durations: StepsConfig) -> Phase:
    objective = Objective(
        flow=FlowConfig(), weights={"video": 1.0, "audio": 0.2}, text_dropout=0.5, boundary=TOY.boundary,
        alternate=True, mask_channels=MASK, seed=5,
    )  # fmt: skip
    rates = RatesConfig(towers=1e-3, bridge=2e-3)
    return Phase(build, objective, OptimizerConfig(lr=rates, warmup=2, schedule="cosine"), durations)
