"""Weights that are held in bf16 compute bitwise what autocast makes of fp32 weights."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from talkies.nn.lowering import hold_lowered, lowered_parameters
from talkies.nn.precision import Linear32
from talkies.training.config import LoraConfig
from talkies.training.lora import add_lora

sys.path.append(str(Path(__file__).parents[1] / "models"))
sys.path.append(str(Path(__file__).parents[1] / "models" / "mochi"))
import joint_toy
import toy_streams

Evaluate = Callable[[nn.Module], dict[str, Tensor]]


class Casts(TorchDispatchMode):
    """Whether a parameter was cast to bf16."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = {p.untyped_storage()._cdata: name for name, p in model.named_parameters()}
        self.cast: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and out.dtype is torch.bfloat16:
            self.cast |= {self.names[c] for c in [args[0].untyped_storage()._cdata] if c in self.names}
        return out


def mova() -> tuple[nn.Module, Evaluate]:
    streams, condition = {"video": toy_streams.video(), "audio": toy_streams.audio()}, toy_streams.condition()
    return toy_streams.toy(), lambda model: model(streams, condition)


def mirage() -> tuple[nn.Module, Evaluate]:
    streams, condition = joint_toy.streams(), joint_toy.prompt(4, 2)
    return joint_toy.toy(), lambda model: model(streams, condition)


def lora() -> tuple[nn.Module, Evaluate]:
    model, evaluate = mova()
    add_lora(model, LoraConfig(rank=2, targets=("q", "v", "ffn.0")), seed=1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return model, evaluate


@pytest.mark.parametrize("case", [mova, mirage, lora])
@torch.no_grad()
def test_held_weights_compute_what_autocast_makes_of_fp32_ones(case: Callable[[], tuple[nn.Module, Evaluate]]) -> None:
    torch.manual_seed(0)
    whole, evaluate = case()
    held = copy.deepcopy(whole)
    hold_lowered(held)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        with Casts(whole) as before:
            exact = evaluate(whole)
        with Casts(held) as after:
            found = evaluate(held)
    assert all(torch.equal(exact[name], found[name]) for name in exact)
    assert not after.cast, "a parameter that autocast lowers is held in fp32"
    held_names = {name for name, p in held.named_parameters() if p.dtype is torch.bfloat16}
    assert before.cast <= held_names
    assert len(before.cast) > len(held_names) / 2


def test_what_is_pinned_stays_fp32() -> None:
    model = nn.Sequential(nn.Linear(2, 2), Linear32(2, 2), nn.LayerNorm(2), nn.Conv1d(2, 2, 1))
    assert {id(p) for p in lowered_parameters(model)} == {id(p) for i in (0, 3) for p in model[i].parameters()}
    hold_lowered(model)
    assert [p.dtype for p in model[1].parameters()] == [torch.float32] * 2
