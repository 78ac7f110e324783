"""A phase of the toy preset over tiny shards."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_shards import MASK, TOY, grids, tiny_shards
from torch import nn

from talkies.data.shards import ShardSet
from talkies.flow.config import FlowConfig
from talkies.models.build import build_mova
from talkies.models.config import MovaConfig
from talkies.training.config import OptimizerConfig, RatesConfig, StepsConfig
from talkies.training.guard import Guard
from talkies.training.phase import Objective, Phase

GRIDS = grids(2)
JOINT = frozenset({"video_high", "video_low", "audio", "bridge"})


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    return ShardSet.open(tiny_shards(tmp_path / "tiny", width=2))


@pytest.fixture
def build() -> Callable[[], nn.Module]:
    return lambda: build_mova(MovaConfig(preset="toy"), components=JOINT, seed=3)


def steps(count: int, **changed: int) -> StepsConfig:
    return StepsConfig(**{"max": count, "global_batch": 4, "checkpoint_every": 100, **changed})


def phase_of(
    build: Callable[[], nn.Module], durations: StepsConfig, guard: Guard | None = None, kind: type[Phase] = Phase
) -> Phase:
    objective = Objective(
        flow=FlowConfig(), weights={"video": 1.0, "audio": 0.2}, text_dropout=0.5, boundary=TOY.boundary,
        alternate=True, mask_channels=MASK, seed=5,
    )  # fmt: skip
    rates = RatesConfig(towers=1e-3, bridge=2e-3)
    return kind(build, objective, OptimizerConfig(lr=rates, warmup=2, schedule="cosine"), durations, guard)
