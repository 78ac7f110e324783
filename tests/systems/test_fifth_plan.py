"""A system from outside of the package is planned: what is counted is what its network does on real tensors."""

from typing import Any

import pytest
import torch
from fifth import FIFTH
from test_fifth_system import recipe
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from talkies.cli.plan import plan_phase
from talkies.flow.loss import per_sample_loss
from talkies.models.build import initialise
from talkies.nn.attention import Attention
from talkies.planning.activations import activations
from talkies.planning.parameters import skeleton
from talkies.planning.profile import Profiler
from talkies.planning.work import Work
from talkies.recipe.check import check
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.streams.batch import Condition, Stream, Text
from talkies.training.config import AllConfig

CLIPS = 3


def visible_attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention as plain matrix products, which PyTorch's counter sees."""
    assert mask is None
    return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v


def network() -> nn.Module:
    model = FIFTH.network().build(recipe(), {"voice"})
    initialise(model, 0)
    return model


def loss_of(phase: PhaseRecipe, model: nn.Module, clips: int) -> Tensor:
    grid, text = check(phase)["audio"], phase.codecs["text"]
    sound = Stream(latent=torch.randn(clips, *grid.latent_shape), time=torch.rand(clips), grid=grid)
    words: Any = torch.randn(clips, text.length, text.dim)
    texts = {"text": Text(embedding=words, length=torch.full((clips,), 3))}
    predicted = model({"audio": sound}, Condition(texts=texts))["audio"]
    return per_sample_loss(predicted, torch.zeros_like(predicted), sound.valid).mean()


def test_its_flops_are_those_of_a_step() -> None:
    phase, model = recipe(), network()
    for module in model.modules():
        if isinstance(module, Attention):
            module.attend = visible_attend
    with FlopCounterMode(display=False) as counter:
        loss_of(phase, model, 1).backward()
    planned = plan_phase(phase)
    assert planned.compute.useful == phase.steps.global_batch * counter.get_total_flops()
    assert planned.compute.forward.keys() == {"voice"}
    assert planned.latents["audio"].tokens == planned.shares["audio"].tokens


@pytest.mark.parametrize("bf16", [False, True])
def test_its_activations_are_those_of_a_step(bf16: bool) -> None:
    phase, model, found = recipe(), network(), {}
    weights = {p.untyped_storage()._cdata for p in model.parameters()}

    def pack(x: Tensor) -> Tensor:
        found[x.untyped_storage()._cdata] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x), torch.autocast("cpu", enabled=bf16):
        loss = loss_of(phase, model, CLIPS)
    assert loss.requires_grad
    shapes = {shape for p in model.parameters() for shape in (p.shape, p.t().shape if p.ndim == 2 else p.shape)}
    casts = {key for key, x in found.items() if x.dtype == torch.bfloat16 and x.shape in shapes}
    kept = sum(x.untyped_storage().nbytes() for key, x in found.items() if key not in weights | casts)
    profiler = Profiler(
        FIFTH, phase, skeleton(FIFTH, phase, parts(phase).components), grids=check(phase), train=AllConfig()
    )
    work = Work(tokens={"audio": 1}, bf16=bf16, clips=CLIPS, accumulate=1, layout=phase.parallel, checkpointing=False)
    assert activations(profiler(work, fused=False), checkpointing=False).kept == pytest.approx(kept, rel=0.02)


def test_its_parameters_are_those_of_the_network() -> None:
    planned = plan_phase(recipe(compute={"checkpointing": True}))
    size = sum(p.nbytes for p in network().parameters())
    assert (planned.memory.weights, planned.memory.gradients, planned.memory.optimizer) == (size, size, 2 * size)
    assert planned.memory.activations.inputs > 0
