"""The plan's bytes are those of real processes: weights, gradients, moments, EMA; activations; what is sent."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import on_ranks
from saved_bytes import counted, loss, network, saved, work

from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig
from talkies.parallel.mesh import Mesh
from talkies.parallel.sequence import SequenceGroups
from talkies.parallel.sharding import blocks
from talkies.planning.activations import activations

CASES = list(product(("toy", "mid"), (False, True), ("fp32", "bf16")))


def kept_by(name: str, degree: int, checkpointing: bool, mode: str) -> list[int]:
    """Bytes that autograd keeps of one micro-batch on this rank, and the bytes that it sent in the whole step."""
    groups = SequenceGroups("cpu", degree, degree) if degree > 1 else None
    mesh = Mesh(device=torch.device("cpu"), weights=None, sequence=groups, data_rank=0, data_world=1)
    model = network(name)
    arrange(model, mesh, ComputeConfig(checkpointing=checkpointing), bf16=False)
    if mode == "bf16":
        for block in blocks(model):
            block.bfloat16()
    with pytest.MonkeyPatch.context() as patch, counted(patch) as sent:
        with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
            found, value = saved(model, lambda: loss(model, name))
        value.backward()
    return [found, sent[0]]


def kept_on_rank(degree: int) -> list[list[int]]:
    return [kept_by(name, degree, checkpointing, mode) for name, checkpointing, mode in CASES]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[Any, ...], list[list[int]]]:
    """(degree, *case) -> what every rank counted."""
    found: dict[tuple[Any, ...], list[list[int]]] = {}
    for degree in (1, 2, 4):
        folder = tmp_path_factory.mktemp("kept")
        answers = on_ranks(folder, degree, kept_on_rank, degree) if degree > 1 else [kept_on_rank(1)]
        found |= {(degree, *case): [a[i] for a in answers] for i, case in enumerate(CASES)}
    return found


@pytest.mark.parametrize("case", list(product((1, 2, 4), CASES)), ids=str)
def test_activations(case: Any, measured: dict[tuple[Any, ...], list[list[int]]]) -> None:
    degree, (name, checkpointing, mode) = case
    planned = activations(work(name, degree, checkpointing=checkpointing, mode=mode), fused=False)
    expected = planned.inputs + planned.ends if checkpointing else planned.kept
    for found, _ in measured[(degree, name, checkpointing, mode)]:
        print(case, found, expected, expected/found)
        assert expected == pytest.approx(found, rel=0.15)

def test_auto():
    for name,c in product(("toy","mid"),(False,True)):
        planned = activations(work(name, 1, checkpointing=c, mode="autocast"), fused=False)
        expected = planned.inputs + planned.ends if c else planned.kept
        found=kept_by(name,1,c,"autocast")[0]
        print(name,c,found,expected,expected/found)
