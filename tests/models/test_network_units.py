"""The units of every network: which parameters they hold, and that to recompute, compile or lower them changes
nothing."""

from functools import partial

import pytest
import torch
from stepped import NETWORKS, POOLED, Stepped, mtv
from torch._dynamo.utils import counters

from talkies.nn.lowering import lowered_parameters
from talkies.parallel.config import ComputeConfig

# torch hides it with its own showwarning, which is not called if warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
LEARNED = mtv("cogvideox-learned", POOLED, stepwise=False)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (NETWORKS["CogVideoX"], 3 * 3),
        (NETWORKS["Mirage"], 2 * 3 * 3 - 2),  # the last layer of text and sound ends with their keys
        *((NETWORKS[name], 3 * 3 + 3 + 2 + 3) for name in ("MTV", "MTV by interval", "MTV without rotations")),
        (LEARNED, 3 * 3 + 3 + 2 + 3),
        *((NETWORKS[name], 3 + 3 + 2 + 3) for name in ("MTV on Wan", "MTV on Wan by interval")),
    ],
)
def test_units_hold_every_parameter_of_the_layers_and_of_the_control_once(network: Stepped, count: int) -> None:
    model = network.make()
    units = [*network.units(model)]
    assert len(units) == count
    held = [id(p) for unit in units for p in unit.parameters()]
    assert len(held) == len({*held})
    inside = (".blocks.", "attention.", "control.")
    assert {name for name, p in model.named_parameters() if id(p) in {*held}} == {
        name
        for name, _ in model.named_parameters()
        if any(part in name for part in inside) and name != "control.speakers.vectors"
    }


COMPILED = (
    "CogVideoX",
    "Mirage, padded",
    "MTV",
    "MTV at one level",
    "MTV by interval",
    "MTV on Wan",
    "MTV on Wan by interval",
)
"""Those whose units differ; tests/parallel/test_compile.py has MOVA's."""


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize(
    "compute",
    [ComputeConfig(checkpointing=True), ComputeConfig(compile=True), ComputeConfig(checkpointing=True, compile=True)],
    ids=["recomputed", "compiled", "both"],
)
def test_recomputed_and_compiled_units_do_the_same(
    compute: ComputeConfig, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    network = NETWORKS[name]
    expected, model = network.step(), network.arranged(compute)
    counters.clear()
    for _ in range(2):
        loss, grads = network.step(model)
        torch.testing.assert_close(loss, expected[0])
        assert grads.keys() == expected[1].keys()
        for parameter, grad in grads.items():
            torch.testing.assert_close(grad, expected[1][parameter], msg=parameter)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] <= network.kinds


@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        ("Mirage, padded", ("video", "text")),
        ("MTV", ("video",)),
        ("MTV", ("video", "attention")),
        ("MTV on Wan", ("video",)),
    ],
)
def test_frozen_units_in_bf16_train_the_rest_bitwise_the_same(name: str, frozen: tuple[str, ...]) -> None:
    """As a phase does that trains the sound, the control, or the control and the attention, with `compute.masters:
    bf16`."""
    network = NETWORKS[name]
    wide, half = network.make(), network.make()
    for model in (wide, half):
        for component in frozen:
            model.get_submodule(component).requires_grad_(False)
    for parameter in (p for unit in network.units(half) for p in lowered_parameters(unit)):
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = network.step(wide), network.step(half)
    assert sum(p.dtype is torch.bfloat16 for p in half.parameters()) > 5
    assert torch.equal(found[0], expected[0])
    assert found[1].keys() == expected[1].keys() == {name for name, p in wide.named_parameters() if p.requires_grad}
    assert all(torch.equal(grad, expected[1][name]) for name, grad in found[1].items())
