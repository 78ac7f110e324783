"""Compiled = eager, on one process and on two; what is compiled does not grow with steps or blocks."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
from one_step import TOY, loss_of, step, toy
from ranks import on_ranks
from torch import Tensor
from torch._dynamo.utils import counters

from talkies.checkpoints.spans import whole
from talkies.config import RecipeError
from talkies.models.mova import Mova
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig
from talkies.parallel.mesh import Mesh
from talkies.parallel.sequence import SequenceGroups
from talkies.training.config import LoraConfig
from talkies.training.lora import add_lora

pytestmark = [
    # torch hides it by another showwarning, which is not asked where warnings are errors.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
    # Inductor imports what torch itself deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),
]
KINDS = 4  # blocks of two towers, conditioners of two directions


def compiled(model: Mova, *, checkpointing: bool = False, mesh: Mesh | None = None) -> Mova:
    arrange(model, mesh, ComputeConfig(compile=True, checkpointing=checkpointing), bf16=False)
    counters.clear()
    return model


def graphs() -> int:
    """So many were compiled, each from a whole forward pass."""
    assert not counters["graph_break"]
    return int(counters["stats"]["unique_graphs"])


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes a graph is decided before a backend sees it: no C++ is compiled here."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


@pytest.fixture
def count(traced_only: None) -> Callable[[Mova], list[int]]:
    """Graphs after each of some steps: both experts, other batches, padded ones last."""

    def counts(model: Mova) -> list[int]:
        found = []
        for padded, expert, seed in product((False, True), (0, 1), (3, 4)):
            step(model, padded=padded, expert=expert, seed=seed)
            found.append(graphs())
        return found

    return counts


def test_a_kind_of_block_is_compiled_once_and_once_for_padding(count: Callable[[Mova], list[int]]) -> None:
    assert count(compiled(toy())) == [KINDS] * 4 + [2 * KINDS] * 4


def test_more_blocks_are_no_more_graphs(count: Callable[[Mova], list[int]]) -> None:
    deeper = replace(TOY, video=replace(TOY.video, layers=12), audio=replace(TOY.audio, layers=9))
    assert count(compiled(toy(replace(deeper, bridge=replace(TOY.bridge, layers=9)))))[-1] == 2 * KINDS


def test_the_first_block_of_a_lora_is_a_kind_of_its_own(count: Callable[[Mova], list[int]]) -> None:
    """Nothing before it is trained. Of the Bridge both directions are first at once."""
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
def test_what_an_earlier_phase_compiled_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talkies.parallel.compiled.VARIANTS", 1)
    for _ in range(3):
        model = compiled(toy(components=["audio"]))
        step(model, only=["audio"])
    with pytest.raises(RecipeError, match=r"`compute\.compile` is true, but blocks do not compile: .*limit") as caught:
        step(model, only=["audio"], padded=True)
    assert "\n" not in str(caught.value)


def test_a_machine_without_a_compiler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    with pytest.raises(RecipeError, match="No working C\\+\\+ compiler found") as caught:
        step(compiled(toy(components=["audio"])), only=["audio"])
    assert "\n" not in str(caught.value)


def close(found: tuple[Tensor, dict[str, Tensor]], expected: tuple[Tensor, dict[str, Tensor]]) -> None:
    """Loss, and gradients within 1e-5 of the norm of all."""
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=0)
    assert found[1].keys() == expected[1].keys()
    norm = torch.linalg.vector_norm(torch.stack([grad.norm() for grad in expected[1].values()]))
    worst = max(float((found[1][name] - grad).abs().max()) for name, grad in expected[1].items())
    assert worst <= 1e-5 * float(norm)


@pytest.mark.slow
def test_compiled_is_eager_also_where_blocks_are_computed_again() -> None:
    """Through C++. No warning: every operation is one that Inductor has code for."""
    expected = step(toy())
    for checkpointing in (False, True):
        close(step(compiled(toy(), checkpointing=checkpointing)), expected)
        assert graphs() == KINDS


def sharded() -> dict[str, Tensor]:
    """Half of the weights on each rank."""
    from torch.distributed.device_mesh import init_device_mesh

    weights = init_device_mesh("cpu", (2,), mesh_dim_names=("shard",))
    mesh = Mesh(device=torch.device("cpu"), weights=weights, sequence=None, data_rank=0, data_world=1)
    model = compiled(toy(components=["audio"]), mesh=mesh)
    for seed in (4, 3):
        loss, grads = step(model, only=["audio"], seed=seed)
        assert graphs() == 1
    return {"loss": loss, **{name: whole(grad) for name, grad in grads.items()}}


def split() -> dict[str, Tensor]:
    """Half of the tokens on each rank; the exchanges are in the graphs, and no backend is needed to see that."""
    import torch.distributed as dist

    groups = SequenceGroups("cpu", 2, 2)
    mesh = Mesh(device=torch.device("cpu"), weights=None, sequence=groups, data_rank=0, data_world=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
        model = compiled(toy(), mesh=mesh, checkpointing=True)
        for seed in (4, 3):
            loss, grads = step(model, seed=seed)
            assert graphs() == KINDS
    for grad in grads.values():  # what DDP and FSDP do
        dist.all_reduce(grad)
    return {"loss": loss, **{name: grad / 2 for name, grad in grads.items()}}


def on_both() -> dict[str, dict[str, Tensor]]:
    return {"sharded": sharded(), "split": split()}


@pytest.mark.ranks
@pytest.mark.timeout(600)
def test_compiled_on_two_ranks_is_eager_on_one(tmp_path: Path) -> None:
    expected = {"sharded": step(toy(components=["audio"]), only=["audio"]), "split": step(toy())}
    for answer in on_ranks(tmp_path, 2, on_both):
        for name, found in answer.items():
            close((found.pop("loss"), found), expected[name])
