"""The units of the network: what is sharded, recomputed and compiled as one."""

from functools import partial

import pytest
import torch
from joint_toy import TEXT, TOY, prompt, streams, toy
from torch import Tensor
from torch._dynamo.utils import counters

from talkies.models.mochi.network import JointDiT, JointNetwork
from talkies.nn.lowering import lowered_parameters
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig

# torch hides it with its own showwarning, which is not called if warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")


def step(model: JointDiT) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one backward pass, always of the same streams."""
    torch.manual_seed(1)
    model.zero_grad()
    loss = model(streams(), prompt(TEXT, 2))["video"].square().mean()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_units_hold_every_parameter_of_the_layers_once() -> None:
    model = toy(given_bias=0.0)
    units = [*JointNetwork().units(model)]
    assert len(units) == 2 * 3 * TOY.layers - 2  # the last layer of text and sound ends with their keys
    held = [id(p) for unit in units for p in unit.parameters()]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for name, p in model.named_parameters() if ".blocks." in name}


KINDS = 6 + 4
"""Enter: of four streams, and of the last layer's text and sound. Leave: of four streams."""


@pytest.mark.parametrize(
    "compute",
    [ComputeConfig(checkpointing=True), ComputeConfig(compile=True), ComputeConfig(checkpointing=True, compile=True)],
    ids=str,
)
def test_recomputed_and_compiled_units_do_the_same(compute: ComputeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    expected, model = step(toy()), toy()
    arrange(model, [*JointNetwork().units(model)], None, compute, bf16=False)
    counters.clear()
    for _ in range(2):
        loss, grads = step(model)
        torch.testing.assert_close(loss, expected[0])
        assert grads.keys() == expected[1].keys()
        for name, grad in grads.items():
            torch.testing.assert_close(grad, expected[1][name], msg=name)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] <= KINDS


def test_frozen_units_in_bf16_train_the_sound_bitwise_the_same() -> None:
    """As the warm-up does with `compute.masters: bf16`."""
    wide, half = toy(), toy()
    for model in (wide, half):
        model.requires_grad_(False).get_submodule("sound").requires_grad_(True)
    for parameter in (p for unit in JointNetwork().units(half) for p in lowered_parameters(unit)):
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = step(wide), step(half)
    assert sum(p.dtype is torch.bfloat16 for p in half.parameters()) > 10
    assert torch.equal(found[0], expected[0])
    assert found[1].keys() == expected[1].keys() == {name for name, p in wide.named_parameters() if p.requires_grad}
    assert all(torch.equal(grad, expected[1][name]) for name, grad in found[1].items())
