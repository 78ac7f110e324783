"""The units of the network: what is sharded, recomputed, compiled and lowered as one."""

from functools import partial
from typing import Any

import pytest
import torch
from mtv_toy import condition, streams, toy
from torch import Tensor
from torch._dynamo.utils import counters

from talkies.models.mtv.network import Mtv, MtvNetwork
from talkies.nn.lowering import hold_lowered, lowered_parameters
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig

# torch hides it with its own showwarning, which is not called if warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
BACKBONES = ("cogvideox", "wan")


def step(model: Mtv, *, stepwise: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one backward pass, always of the same streams; `stepwise`: at a noise level for every
    latent step."""
    torch.manual_seed(1)
    model.zero_grad()
    given = streams(model, levels=torch.rand(2, 3) if stepwise else None)
    loss = model(given, condition())["video"].square().mean()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("speakers", [1, 2])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_units_hold_every_parameter_of_the_layers_and_of_the_control_once(backbone: str, speakers: int) -> None:
    model = toy(backbone, speakers=speakers)
    units = [*MtvNetwork().units(model)]
    assert len(units) == {"cogvideox": 3 * 3, "wan": 3}[backbone] + 3 + 2 + 3
    held = [id(p) for unit in units for p in unit.parameters()]
    inside = (".blocks.", "attention.", "control.encoders.", "control.interactions.", "control.injections.")
    assert len(held) == len({*held})
    names = {name for name, p in model.named_parameters() if id(p) in {*held}}
    assert names == {name for name, _ in model.named_parameters() if any(part in name for part in inside)}
    rest = {name for name, _ in model.named_parameters()} - names
    assert {name for name in rest if not name.startswith("video.")} == (
        {"control.speakers.vectors"} if speakers == 2 else set()
    )


def test_a_backbone_alone_has_its_own_units() -> None:
    for backbone in BACKBONES:
        model, steered = toy(backbone, components=("video", "attention")), toy(backbone)
        assert len([*MtvNetwork().units(model)]) == len([*MtvNetwork().units(steered)]) - 8


KINDS = {"cogvideox": 3, "wan": 2}
"""Modulation, attention and feed-forward, or the halves of a block; the control adds an encoder, an interaction and an
injection."""
CASES: dict[str, dict[str, Any]] = {
    "two speakers": {"speakers": 2},
    "one attention, music by interval, two intervals": {"injection": "shared", "music": "interval", "intervals": 2},
}


@pytest.mark.parametrize("keys", CASES)
@pytest.mark.parametrize(
    "compute",
    [ComputeConfig(checkpointing=True), ComputeConfig(compile=True), ComputeConfig(checkpointing=True, compile=True)],
    ids=str,
)
@pytest.mark.parametrize(("backbone", "stepwise"), [("cogvideox", False), ("cogvideox", True), ("wan", False)])
def test_recomputed_and_compiled_units_do_the_same(
    backbone: str, stepwise: bool, compute: ComputeConfig, keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    expected, model = step(toy(backbone, **CASES[keys]), stepwise=stepwise), toy(backbone, **CASES[keys])
    arrange(model, [*MtvNetwork().units(model)], None, compute, bf16=False)
    counters.clear()
    for _ in range(2):
        loss, grads = step(model, stepwise=stepwise)
        torch.testing.assert_close(loss, expected[0])
        assert grads.keys() == expected[1].keys()
        for name, grad in grads.items():
            torch.testing.assert_close(grad, expected[1][name], msg=name)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] <= KINDS[backbone] + 3


def test_lowered_are_the_matmuls() -> None:
    """Modulations, norms, time, vectors of speakers and the style of the music stay fp32."""
    model = toy(speakers=2)
    hold_lowered(model)
    found = {name for name, p in model.control.named_parameters() if p.dtype is torch.float32} if model.control else {}
    kinds = {name.split(".")[0] for name in found}
    assert kinds == {"encoders", "speakers", "interactions", "injections"}
    assert all(any(part in name for part in (".norm", "speakers.vectors", ".time.", ".style.")) for name in found), (
        found
    )


@pytest.mark.parametrize(
    ("backbone", "frozen"), [("cogvideox", ("video",)), ("cogvideox", ("video", "attention")), ("wan", ("video",))]
)
def test_a_frozen_backbone_in_bf16_trains_the_rest_bitwise_the_same(backbone: str, frozen: tuple[str, ...]) -> None:
    """As a phase does that trains the control alone, or the attention besides, with `compute.masters: bf16`."""
    wide, half = toy(backbone), toy(backbone)
    for model in (wide, half):
        for name in frozen:
            model.get_submodule(name).requires_grad_(False)
    for parameter in (p for unit in MtvNetwork().units(half) for p in lowered_parameters(unit)):
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = step(wide), step(half)
    assert sum(p.dtype is torch.bfloat16 for p in half.parameters()) > 5
    assert torch.equal(found[0], expected[0])
    assert found[1].keys() == expected[1].keys() == {name for name, p in wide.named_parameters() if p.requires_grad}
    assert all(torch.equal(grad, expected[1][name]) for name, grad in found[1].items())
