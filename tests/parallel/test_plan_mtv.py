"""MTV's plan: parameters are those built, and activations those that real processes keep, to the byte."""

from fractions import Fraction
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ranks import on_ranks
from saved_bytes import counted, storages

from talkies.flow.loss import per_sample_loss
from talkies.models.build import build, count_parameters
from talkies.models.mtv.config import MtvConfig
from talkies.models.mtv.phases import SteeringConfig
from talkies.models.mtv.system import MTV
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig, DdpConfig, Fsdp2Config
from talkies.parallel.mesh import Mesh
from talkies.parallel.sequence import SequenceGroups
from talkies.planning.activations import activations
from talkies.planning.communication import sequence_bytes
from talkies.planning.parameters import parts_of, skeleton
from talkies.planning.profile import Profiler
from talkies.planning.work import Work
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text
from talkies.training.config import AllConfig

CLIPS, TEXT = 2, 24
GRIDS = {"video": Grid(channels=12, shape=(7, 4, 6), rate=Fraction(25, 4))} | {
    name: Grid(channels=80, shape=(25,), rate=Fraction(25, 2)) for name in ("speech", "effects", "music")
}
"""42 tokens of video: a step has 6, so that halves cut one."""


def setup(preset: str, trains: str = "all") -> Any:
    text = SimpleNamespace(dim=64, length=TEXT)
    codecs = {"video": SimpleNamespace(stride=2), "sound": None, "demix": None, "text": text}
    model = MtvConfig(preset=preset)  # type: ignore[arg-type]
    return SimpleNamespace(model=model, phase=SteeringConfig(trains=trains), codecs=codecs)  # type: ignore[arg-type]


def loss(model: Any) -> torch.Tensor:
    """Of one micro-batch, as a phase computes it."""
    streams = {
        name: Stream(latent=torch.randn(CLIPS, *grid.latent_shape), time=torch.rand(CLIPS), grid=grid)
        for name, grid in GRIDS.items()
    }
    text = Text(embedding=torch.randn(CLIPS, TEXT, 64), length=torch.full((CLIPS,), 3))
    out = model(streams, Condition(texts={"text": text}))["video"]
    losses = [per_sample_loss(out, torch.zeros_like(out), streams["video"].valid).mean()]
    return torch.stack(losses).sum()


def kept_by(preset: str, trains: str, degree: int, checkpointing: bool, lowered: bool) -> list[int]:
    """Bytes that autograd keeps of one micro-batch on this rank, and the bytes that the rank sends during it."""
    made = setup(preset, trains)
    model = build(MTV, made, MTV.parts(made).components, seed=0)
    for component in MTV.parts(made).frozen:
        model.get_submodule(component).requires_grad_(False)
    groups = SequenceGroups("cpu", degree, degree) if degree > 1 else None
    mesh = Mesh(device=torch.device("cpu"), weights=None, sequence=groups, data_rank=0, data_world=1)
    units = [*MTV.network().units(model)]
    arrange(model, units, mesh, ComputeConfig(checkpointing=checkpointing), bf16=False)
    for unit in units if lowered else ():
        unit.bfloat16()
    with counted() as sent:
        found, value = storages(model, lambda: loss(model), units if checkpointing else ())
        value.backward()
    return [sum(found.values()), sent["exchange"], sent["all_gather"] + sent["reduce_scatter"]]


def planned(preset: str, trains: str, degree: int, checkpointing: bool, lowered: bool) -> list[int]:
    """The same according to the plan."""
    made = setup(preset, trains)
    model = skeleton(MTV, made, MTV.parts(made).components)
    layout = Fsdp2Config(shard=degree, sequence=degree) if degree > 1 or lowered else DdpConfig()
    work = Work(
        tokens=MTV.tokens(made, GRIDS), inactive=frozenset(), bf16=lowered, clips=CLIPS, accumulate=1, layout=layout,
        checkpointing=checkpointing,
    )  # fmt: skip
    profile = Profiler(MTV, made, model, grids=GRIDS, train=AllConfig())(work, fused=False)
    found = activations(profile, checkpointing=checkpointing)
    return [found.inputs + found.ends if checkpointing else found.kept, *sequence_bytes(work, profile)]


CASES = [
    (preset, trains, degree, checkpointing, lowered)
    for (preset, trains), degree, checkpointing, lowered in product(
        [("toy", "all"), ("toy", "control_and_attention"), ("toy-wan", "control")], (1,), (False, True), (False, True)
    )
]
SHARED = [("toy", "control_and_attention", 2, False, False), ("toy-wan", "all", 2, True, False)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_activations(case: tuple[Any, ...]) -> None:
    assert planned(*case) == kept_by(*case)


def on_rank() -> list[list[int]]:
    return [kept_by(*case) for case in SHARED]


@pytest.mark.ranks
@pytest.mark.timeout(600)
def test_activations_of_a_shared_sequence(tmp_path: Path) -> None:
    for answer in on_ranks(tmp_path, 2, on_rank):
        for case, found in zip(SHARED, answer, strict=True):
            assert found == planned(*case), case


@pytest.mark.parametrize("trains", ["control", "control_and_attention", "all"])
def test_parameters(trains: str) -> None:
    made = setup("toy", trains)
    components = MTV.parts(made).components
    model = build(MTV, made, components, seed=0)
    parts = parts_of(MTV, made, skeleton(MTV, made, components), AllConfig())
    assert [part.name for part in parts] == [name for name, _ in model.named_children()]
    for part in parts:
        count = count_parameters(model.get_submodule(part.name))
        assert (part.built, part.trained) == (count, 0 if part.name in MTV.parts(made).frozen else count), part.name
