"""Weights in host memory: the results are those of a model held whole, and few of the weights are on the device."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from talkies.flow.config import EulerSampler, ReuseConfig, SkipLayerConfig
from talkies.flow.guidance import guided
from talkies.flow.sampler import sample
from talkies.models.mochi.network import JointNetwork
from talkies.models.mova.network import MovaNetwork
from talkies.parallel.offload import offloaded
from talkies.streams.batch import Condition, Denoiser, Memory, Stream, Text
from talkies.streams.codec import Codecs
from talkies.streams.system import Rung
from talkies.training.config import LoraConfig
from talkies.training.lora import add_lora

sys.path.append(str(Path(__file__).parents[1] / "models"))
sys.path.append(str(Path(__file__).parents[1] / "models" / "mochi"))
import joint_toy
import toy_streams

CPU, STEPS, BOUNDARY = torch.device("cpu"), 5, 0.5
LADDER = (Rung(without=frozenset({"text"})), Rung(without=frozenset(), scale="text"))


@dataclass(frozen=True, kw_only=True)
class Case:
    model: nn.Module
    units: list[nn.Module]
    groups: Mapping[str, str | None]
    streams: Mapping[str, Stream]
    condition: Condition

    def sampled(self, denoiser: Denoiser, device: torch.device = CPU) -> dict[str, Tensor]:
        """With guidance, a skipped layer and reuse; of two experts the second takes over half-way."""
        text = self.condition.texts["text"]
        null = Text(embedding=torch.zeros_like(text.embedding), length=torch.zeros_like(text.length))
        prompt, empty = (replace(t.to(device), cache=Memory()) for t in (text, null))
        streams = {name: stream.to(device) for name, stream in self.streams.items()}
        made = [name for name, stream in streams.items() if stream.role == "target"]
        at = guided(
            denoiser,
            LADDER,
            {"text": 3.0},
            {"text": empty},
            steps=STEPS,
            skip_layer=SkipLayerConfig(layers=(1,)),
            reuse=ReuseConfig(after=0.2, attention_every=2, branches_every=2),
        )
        with torch.no_grad():
            return sample(
                EulerSampler(),
                at,
                streams,
                replace(self.condition, texts={"text": prompt}),
                {name: [1 - i / STEPS for i in range(STEPS + 1)] for name in made},
                inactive=self.inactive,
            )

    def inactive(self, levels: Mapping[str, float]) -> frozenset[str]:
        experts = [name for name, group in self.groups.items() if group is not None]
        return frozenset({experts[levels["video"] >= BOUNDARY]} if experts else ())

    def offloaded(self, how: Literal["component", "block"], codecs: Codecs | None = None) -> Denoiser:
        return offloaded(self.model, self.units, self.groups, codecs or Codecs(), how=how, device=CPU)


def mova(**lora: Any) -> Case:
    model = toy_streams.toy()
    if lora:
        add_lora(model, LoraConfig(**lora), seed=1)
    return Case(
        model=model.eval().requires_grad_(False),
        units=[*MovaNetwork().units(model)],
        groups={"video_high": "video_high", "video_low": "video_low", "audio": None, "bridge": None},
        streams={"video": toy_streams.video(), "audio": toy_streams.audio()},
        condition=toy_streams.condition(),
    )


def adapted() -> Case:
    return mova(rank=2, targets=("q", "v"))


def mirage() -> Case:
    model = joint_toy.toy()
    return Case(
        model=model.eval().requires_grad_(False),
        units=[*JointNetwork().units(model)],
        groups=dict.fromkeys(("video", "text", "sound")),
        streams=joint_toy.streams(),
        condition=joint_toy.prompt(4, 2),
    )


CASES = pytest.mark.parametrize("make", [mova, adapted, mirage])


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Device(TorchDispatchMode):
    """A device that the CPU plays: it holds the copies of parameters that still exist, whoever refers to them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.host = {p.untyped_storage()._cdata: name for name, p in model.named_parameters()}
        self._copies: list[tuple[str, int, StorageWeakRef]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.clone.default):
            name = self.host.get(args[0].untyped_storage()._cdata)
            if name is not None:
                self._copies.append((name, out.nbytes, StorageWeakRef(out.untyped_storage())))
        return out

    def live(self) -> dict[str, int]:
        """Name -> bytes of the copies of a parameter."""
        self._copies = [copy for copy in self._copies if not copy[2].expired()]
        found: dict[str, int] = {}
        for name, size, _ in self._copies:
            found[name] = found.get(name, 0) + size
        return found


def names_of(model: nn.Module, module: nn.Module) -> set[str]:
    inside = {id(p) for p in module.parameters()}
    return {name for name, p in model.named_parameters() if id(p) in inside}


@CASES
def test_at_most_two_blocks_and_what_is_outside_of_blocks_are_on_the_device(make: Callable[[], Case]) -> None:
    case = make()
    exact = case.sampled(case.model)
    sizes = {name: p.nbytes for name, p in case.model.named_parameters()}
    units = [names_of(case.model, unit) for unit in case.units]
    ends = sizes.keys() - set().union(*units)
    device, seen = Device(case.model), []

    def look(own: set[str], *_: Any) -> None:
        live = device.live()
        held = [names for names in units if names & live.keys()]
        assert all(live[name] == sizes[name] for name in live), "a weight is there twice"
        assert len(held) <= 2
        assert live.keys() <= ends.union(*held)
        assert own <= live.keys(), "it computes with weights that are not on the device"
        assert len({name.split(".")[0] for name in live if name.startswith("video_")}) <= 1
        seen.append(sum(live.values()))

    for module in (m for m in case.model.modules() if m._parameters):
        module.register_forward_hook(partial(look, names_of(case.model, module)))
    denoiser = case.offloaded("block")
    with device:
        found = case.sampled(denoiser)
    assert all(torch.equal(exact[name], found[name]) for name in exact)
    largest = sorted(sum(sizes[name] for name in names) for names in units)[-2:]
    assert 0 < max(seen) <= sum(largest) + sum(sizes[name] for name in ends)


@CASES
def test_the_next_block_is_there_before_it_is_called(make: Callable[[], Case]) -> None:
    case, here = make(), []
    device = Device(case.model)
    units = {unit: names_of(case.model, unit) for unit in case.units}
    for unit in case.units:
        unit.register_forward_pre_hook(lambda unit, _: here.append(units[unit] <= device.live().keys()))
    denoiser = case.offloaded("block")
    inactive = case.inactive({"video": 1.0})
    with device, torch.no_grad():
        for _ in range(3):
            denoiser(case.streams, replace(case.condition, inactive=inactive))
    each = len(here) // 3
    assert here[:each] == [False] * each, "nothing is known of the first evaluation"
    assert here[each + 1 :] == [True] * (2 * each - 1)


@CASES
def test_the_components_at_work_are_on_the_device_and_no_others(make: Callable[[], Case]) -> None:
    case = make()
    exact = case.sampled(case.model)
    device, seen = Device(case.model), set()

    def look(*_: Any) -> None:
        seen.add(frozenset(name.split(".")[0] for name in device.live()))

    case.units[-1].register_forward_hook(look)
    with device:
        found = case.sampled(case.offloaded("component"))
    assert all(torch.equal(exact[name], found[name]) for name in exact)
    built = {name for name, _ in case.model.named_children()}
    experts = [name for name, group in case.groups.items() if group is not None]
    assert seen == ({frozenset(built - {idle}) for idle in experts} if experts else {frozenset(built)})


class Encoder:
    """A codec with a network, as pretrained ones are."""

    identity = "encoder"

    def __init__(self) -> None:
        self.network = nn.Linear(3, 3).requires_grad_(False)

    def encode(self, captions: list[str]) -> Text:
        states = self.network(torch.ones(len(captions), 1, 3))
        return Text(embedding=states, length=torch.ones(len(captions)).long())

    def overflow(self, caption: str) -> int:
        return len(caption)


@pytest.mark.parametrize("how", ["component", "block"])
def test_a_codec_and_the_model_take_turns(how: Literal["component", "block"]) -> None:
    case, encoder = mova(), Encoder()
    plain = encoder.encode(["a"])
    both = nn.ModuleDict({"codec": encoder.network, "model": case.model})
    device, during = Device(both), []
    encoder.network.register_forward_hook(lambda *_: during.append(parts(device)))
    denoiser = case.offloaded(how, Codecs(text={"text": encoder}))
    with device, torch.no_grad():
        for _ in range(2):
            assert torch.equal(encoder.encode(["a"]).embedding, plain.embedding)
            denoiser(case.streams, replace(case.condition, inactive=case.inactive({"video": 1.0})))
            assert parts(device) == {"model"}
    assert during == [{"codec"}] * 2


def parts(device: Device) -> set[str]:
    return {name.split(".")[0] for name in device.live()}


def test_a_failure_frees_the_device() -> None:
    case = mova()
    device = Device(case.model)
    denoiser = case.offloaded("block")
    fail = case.units[2].register_forward_hook(_fail)
    condition = replace(case.condition, inactive=case.inactive({"video": 1.0}))
    with device, torch.no_grad():
        with pytest.raises(KeyboardInterrupt):
            denoiser(case.streams, condition)
        assert not device.live()
        fail.remove()
        again = denoiser(case.streams, condition)
    whole = case.model(case.streams, condition)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def _fail(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["component", "block"])
@CASES
def test_a_gpu_computes_the_same_as_with_the_model_held_whole(
    make: Callable[[], Case], how: Literal["component", "block"]
) -> None:
    cuda, whole = torch.device("cuda"), make()
    exact = whole.sampled(whole.model.to(cuda), cuda)
    torch.manual_seed(0)
    case = make()
    denoiser = offloaded(case.model, case.units, case.groups, Codecs(), how=how, device=cuda)
    for _ in range(2):
        found = case.sampled(denoiser, cuda)
        assert all(torch.equal(exact[name], found[name]) for name in exact)
    assert {p.device.type for unit in case.units for p in unit.parameters()} <= {"cpu", "cuda"}
