"""What differs between strategies is said in one place."""

from typing import Any

import pytest
import torch
from torch import nn

from talkies.parallel.config import DdpConfig, DeepspeedConfig, Fsdp2Config, Layout
from talkies.training.engines import ZeroEngine, engine_of


@pytest.mark.parametrize("layout", [DdpConfig(), Fsdp2Config(shard=2)])
def test_the_state_is_that_of_the_module(layout: Layout) -> None:
    engine, model = engine_of(layout), nn.Linear(2, 3)
    model.bias.requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW([model.weight])
    strategy: Any = None
    state = engine.state(strategy, model, lambda: optimizer)
    assert engine.fused is None
    assert [(name, value is model.weight) for name, value in state.weights().items()] == [("weight", True)]


@pytest.mark.parametrize("offload", [True, False])
def test_only_an_offloaded_state_is_stepped_by_the_fused_kernel(offload: bool) -> None:
    assert engine_of(DeepspeedConfig(shard=2, stage=2, offload=offload)) == ZeroEngine(True if offload else None)
