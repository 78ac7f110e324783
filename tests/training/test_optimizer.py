"""Learning rates, parameter groups and EMA: small and exact."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from talkies.checkpoints.spans import StateTensor
from talkies.models.build import build
from talkies.models.mova.config import COMPONENTS, EXPERTS, MovaConfig
from talkies.models.mova.system import MOVA
from talkies.training.config import EmaConfig, OptimizerConfig
from talkies.training.ema import Ema
from talkies.training.optimizer import parameter_groups, rate
from talkies.training.state import ModuleState


class Weights(ModuleState):
    """One parameter without a phase."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter, self.refreshed = parameter, 0

    def weights(self) -> dict[str, StateTensor]:
        return {"w": self.parameter}

    def refresh(self) -> None:
        self.refreshed += 1


def config(**changed: object) -> OptimizerConfig:
    return OptimizerConfig(lr={"towers": 1e-3, "bridge": 2e-3}, **changed)  # type: ignore[arg-type]


def test_rate_rises_linearly_then_follows_its_schedule() -> None:
    warm = config(warmup=4)
    assert [rate(step, 20, warm) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rate(12, 20, config(warmup=4, schedule="cosine")) == pytest.approx(0.5)
    decaying = config(schedule="wsd", decay=0.5)
    assert rate(9, 20, decaying) == 1.0
    assert rate(15, 20, decaying) == pytest.approx(0.5)


def test_groups_hold_every_trainable_parameter_once_with_the_bridge_apart() -> None:
    setup = SimpleNamespace(model=MovaConfig(preset="toy"))
    model = build(MOVA, setup, COMPONENTS, seed=0)
    groups = parameter_groups(model, config(weight_decay=0.1), MOVA.components(setup))
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    for group in groups:
        (bridge,) = {name.startswith("bridge.") for name in group["names"]}
        assert group["peak"] == (2e-3 if bridge else 1e-3)
        (component,) = {name.split(".")[0] if name.startswith(EXPERTS) else None for name in group["names"]}
        assert group["name"] == component
        decays = {
            p.ndim >= 2 and not n.endswith("modulation") for n, p in zip(group["names"], group["params"], strict=True)
        }
        assert decays == {group["weight_decay"] > 0}


def test_ema_follows_its_formula_and_restores_the_weights_bitwise() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    state = Weights(parameter)
    ema = Ema(state.weights(), EmaConfig(decay=0.5))
    with torch.no_grad():
        parameter.copy_(torch.tensor([3.0, 4.0]))
    ema.update({"w": parameter})
    expected = 0.1 * torch.tensor([1.0, 2.0]) + 0.9 * torch.tensor([3.0, 4.0])
    torch.testing.assert_close(ema.averages["w"], expected)
    before = parameter.detach().clone()
    with ema.swapped(state):
        assert torch.equal(parameter.detach(), ema.averages["w"])
    assert torch.equal(parameter.detach(), before)
    assert state.refreshed == 2, "the network is refreshed after both writes"
