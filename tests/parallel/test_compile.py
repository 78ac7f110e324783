"""Compiled = eager, on one process and on two; the number of graphs does not grow with steps or blocks."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
from gradients import Step, averaged, close_step
from one_step import TOY, loss_of, step, toy
from ranks import on_ranks
from torch._dynamo.utils import counters

from talkies.checkpoints.spans import whole
from talkies.config import RecipeError
from talkies.models.mova.network import Mova
from talkies.models.mova.system import MOVA
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig
from talkies.parallel.mesh import Mesh
from talkies.parallel.sequence import SequenceGroups
from talkies.training.config import LoraConfig
from talkies.training.lora import add_lora

pytestmark = [
    # torch hides it with its own showwarning, which is not called if warnings are errors.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
    # Inductor imports modules that torch itself deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),
]
KINDS = 4  # blocks of two towers, conditioners of two directions


def compiled(model: Mova, *, checkpointing: bool = False, mesh: Mesh | None = None) -> Mova:
    units = [*MOVA.network().units(model)]
    arrange(model, units, mesh, ComputeConfig(compile=True, checkpointing=checkpointing), bf16=False)
    counters.clear()
    return model


def graphs() -> int:
    """Exactly `count` graphs were compiled, each from a whole forward pass."""
    assert not counters["graph_break"]
    return int(counters["stats"]["unique_graphs"])


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are decided before a backend sees them: no C++ is compiled here."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


@pytest.fixture
def count(traced_only: None) -> Callable[[Mova], list[int]]:
    """The number of graphs after each of several steps: both experts, different batches, padded ones last."""

    def counts(model: Mova) -> list[int]:
        found = []
        for padded, expert, seed in product((False, True), (0, 1), (3, 4)):
            step(model, padded=padded, expert=expert, seed=seed)
            found.append(graphs())
        return found

    return counts


def test_a_kind_of_block_is_compiled_once_and_once_for_padding(count: Callable[[Mova], list[int]]) -> None:
    assert count(compiled(toy())) == [KINDS] * 4 + [2 * KINDS] * 4


def test_more_blocks_make_no_more_graphs(count: Callable[[Mova], list[int]]) -> None:
    deeper = replace(TOY, video=replace(TOY.video, layers=12), audio=replace(TOY.audio, layers=9))
    assert count(compiled(toy(replace(deeper, bridge=replace(TOY.bridge, layers=9)))))[-1] == 2 * KINDS


def test_the_first_block_of_a_lora_is_a_kind_of_its_own(count: Callable[[Mova], list[int]]) -> None:
    """Nothing before it is trained. In the Bridge both directions are first."""
    model = toy()
    add_lora(model, LoraConfig(rank=2), seed=0)
    found = count(compiled(model, checkpointing=True))
    assert found == [found[0]] * 4 + [2 * found[0]] * 4
    assert found[0] <= 2 * KINDS


@pytest.mark.usefixtures("traced_only")
def test_without_gradients_nothing_is_compiled() -> None:
    model = compiled(toy())
    with torch.no_grad():
        found = loss_of(model)
    assert graphs() == 0
    assert torch.equal(found, loss_of(toy()).detach())


@pytest.mark.usefixtures("traced_only")
def test_graphs_of_an_earlier_phase_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talkies.parallel.compiled.VARIANTS", 1)
    for _ in range(3):
        model = compiled(toy(components=["audio"]))
        step(model, only=["audio"])
    with pytest.raises(RecipeError, match=r"`compute\.compile` is true, but blocks do not compile: .*limit") as caught:
        step(model, only=["audio"], padded=True)
    assert "\n" not in str(caught.value)


def test_a_missing_compiler_is_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    with pytest.raises(RecipeError, match="No working C\\+\\+ compiler found") as caught:
        step(compiled(toy(components=["audio"])), only=["audio"])
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_compiled_equals_eager_with_activation_checkpointing() -> None:
    """Through C++. There is no warning: Inductor has code for every operation."""
    expected = step(toy())
    for checkpointing in (False, True):
        close_step(step(compiled(toy(), checkpointing=checkpointing)), expected)
        assert graphs() == KINDS


def sharded() -> Step:
    """Half of the weights on each rank."""
    from torch.distributed.device_mesh import init_device_mesh

    weights = init_device_mesh("cpu", (2,), mesh_dim_names=("shard",))
    mesh = Mesh(device=torch.device("cpu"), weights=weights, sequence=None, data_rank=0, data_world=1)
    model = compiled(toy(components=["audio"]), mesh=mesh)
    for seed in (4, 3):
        loss, grads = step(model, only=["audio"], seed=seed)
        assert graphs() == 1
    return loss, {name: whole(grad) for name, grad in grads.items()}


def split() -> Step:
    """Half of the tokens on each rank; the collectives are in the graphs, which needs no backend to check."""
    groups = SequenceGroups("cpu", 2, 2)
    mesh = Mesh(device=torch.device("cpu"), weights=None, sequence=groups, data_rank=0, data_world=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
        model = compiled(toy(), mesh=mesh, checkpointing=True)
        for seed in (4, 3):
            found = step(model, seed=seed)
            assert graphs() == KINDS
    return averaged(found)


def on_both() -> dict[str, Step]:
    return {"sharded": sharded(), "split": split()}


@pytest.mark.ranks
@pytest.mark.timeout(600)
def test_compiled_on_two_ranks_equals_eager_on_one(tmp_path: Path) -> None:
    expected = {"sharded": step(toy(components=["audio"]), only=["audio"]), "split": step(toy())}
    for found in on_ranks(tmp_path, 2, on_both):
        for name, step_alone in expected.items():
            close_step(found[name], step_alone)
