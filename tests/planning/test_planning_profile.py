"""What a profile measures on the network: FLOPs as by hand, clips in proportion; the network is left as it was."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from mova_flops import forward_flops
from mova_phases import TOKENS, profiler, setup
from torch import nn

from talkies.parallel.config import DdpConfig, DeepspeedConfig, Fsdp2Config, Layout
from talkies.planning.activations import activations
from talkies.planning.profile import Profiler
from talkies.planning.work import Work
from talkies.training.config import LoraConfig

HIGH, LOW = frozenset({"video_low"}), frozenset({"video_high"})
TOY = Work(
    tokens=TOKENS["toy"], inactive=HIGH, bf16=False, clips=1, accumulate=1, layout=DdpConfig(), checkpointing=False
)
LAYOUTS: list[Layout] = [
    DdpConfig(), Fsdp2Config(shard=1), Fsdp2Config(shard=3, sequence=3), DeepspeedConfig(shard=2, sequence=2)
]  # fmt: skip


@pytest.mark.parametrize(("geometry", "degree"), list(product(TOKENS, (1, 2, 8, 12))))
def test_forward_flops_are_those_worked_out_by_hand(geometry: str, degree: int) -> None:
    """Also for odd shares of tokens, and for degrees that do not divide the heads."""
    preset, tokens = ("toy", 24) if geometry == "toy" else ("a14b", 512)
    work = replace(TOY, tokens=TOKENS[geometry], layout=Fsdp2Config(shard=degree, sequence=degree))
    counts = {f"{name}_tokens": count for name, count in TOKENS[geometry].items()}
    expected = forward_flops(setup(preset).model.shape, **counts, text_tokens=tokens, degree=degree)
    assert profiler(geometry)(work).forward == expected


@pytest.mark.parametrize(("phase", "inactive"), [("audio_pretraining", frozenset()), ("video_pretraining", LOW)])
def test_phases_run_what_they_build(phase: str, inactive: frozenset[str]) -> None:
    name = phase.removesuffix("_pretraining")
    counts = {"video_tokens": 0, "audio_tokens": 0, f"{name}_tokens": TOKENS["toy"][name]}
    expected = forward_flops(setup("toy").model.shape, **counts, text_tokens=24, expert=1)
    assert profiler("toy", phase=phase).whole(inactive).forward == expected


def test_the_turn_with_the_most_work_is_planned() -> None:
    """Both experts of MOVA have the same size; the first comes first."""
    assert profiler("toy").turn() == HIGH
    assert profiler("toy").whole(LOW).total("flops") == profiler("toy").whole(HIGH).total("flops")
    assert profiler("toy", phase="audio_pretraining").turn() == frozenset()


@pytest.mark.parametrize(("bf16", "layout"), list(product((False, True), LAYOUTS)), ids=str)
def test_clips_cost_in_proportion(bf16: bool, layout: Layout) -> None:
    """All but the tables of RoPE, which the clips of a micro-batch share."""
    readers = layout.ranks // layout.sequence
    one, two, three = (profiler("toy")(replace(TOY, bf16=bf16, layout=layout, clips=readers * n)) for n in (1, 2, 3))
    assert all(2 * one.total(kind) == two.total(kind) for kind in ("flops", "exchange", "gather"))
    for checkpointing in (False, True):
        a, b, c = (activations(x, checkpointing=checkpointing) for x in (one, two, three))
        assert c.total - b.total == b.total - a.total
        assert 0 <= 2 * a.kept - b.kept < 0.1 * b.kept
        assert 2 * a.ends == b.ends


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_bf16_keeps_less_and_computes_the_same(layout: Layout) -> None:
    wide, narrow = (profiler("toy")(replace(TOY, bf16=bf16, layout=layout, clips=6)) for bf16 in (False, True))
    assert narrow.total("flops") == wide.total("flops")
    assert 2 * narrow.total("exchange") == wide.total("exchange")
    small, large = (activations(x, checkpointing=False).blocks for x in (narrow, wide))
    assert large / 2 < small < large


def test_an_adapter_keeps_less_and_needs_a_cheaper_backward_pass() -> None:
    whole, adapter = profiler("toy").whole(HIGH), profiler("toy", train=LoraConfig(rank=1)).whole(HIGH)
    assert adapter.total("flops") < 0.8 * whole.total("flops")
    assert sum(adapter.forward.values()) < 1.05 * sum(whole.forward.values())
    assert activations(adapter, checkpointing=False).kept < activations(whole, checkpointing=False).kept


def state(model: nn.Module) -> list[tuple[str, Any]]:
    """What a profile changes while it runs."""
    found = [(name, p.dtype) for name, p in model.named_parameters()]
    return found + [(name, {**vars(m), "_parameters": None}) for name, m in model.named_modules()]


def test_a_profile_leaves_the_network_as_it_was() -> None:
    fresh = Profiler(
        profiler("toy").system, setup("toy"), profiler("toy").model, grids=profiler("toy").grids,
        train=LoraConfig(rank=1),
    )  # fmt: skip
    before = state(fresh.model)
    for layout in LAYOUTS:
        fresh(replace(TOY, bf16=True, layout=layout, clips=6))
    assert state(fresh.model) == before
    assert all(p.grad is None for p in fresh.model.parameters())
    assert not torch.is_autocast_enabled("cpu")
    assert torch.get_default_device() == torch.device("cpu")
    fresh.model.requires_grad_()
