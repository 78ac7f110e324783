"""From a recipe to the network of a phase, on any layout: meta, LoRA, recomputation, shards, then the weights.

No process ever holds more than its own part and one module of the whole.
"""

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor, nn

from talkies.checkpoints.release import open_component
from talkies.config import CheckpointError
from talkies.models.build import build_mova, drawn
from talkies.parallel.arrange import arrange
from talkies.parallel.mesh import Mesh
from talkies.parallel.sharding import copy_part
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.parents import Parent
from talkies.training.lora import adapter_values, add_lora, plain_name

Read = Callable[[int, int], Tensor]
"""(first, last) -> these rows of a parameter."""


def build_model(recipe: PhaseRecipe, parents: Mapping[str, Parent], mesh: Mesh | None = None) -> nn.Module:
    """The phase's model: random weights from the recipe's seed where no parent brings any, then LoRA.

    Values are the same on every layout. Raises CheckpointError for a parent whose weights are not this model's.
    """
    components = parts(recipe).components
    model = build_mova(recipe.model, components=components, seed=recipe.seed, device="meta")
    if recipe.phase.kind == "lora":
        add_lora(model, recipe.phase)
    device = arrange(model, mesh, recipe.compute, bf16=recipe.precision == "bf16")
    model.to_empty(device=device)
    own = {plain_name(name): p for name, p in model.named_parameters() if ".lora_" not in name}
    for component, parent in parents.items():
        _fill(own, component, parent)
    skeleton = build_mova(recipe.model, components=components, seed=recipe.seed, device="meta")
    for name, value in drawn(skeleton, recipe.seed, components - parents.keys()):
        copy_part(own[name], _rows(value))
    if recipe.phase.kind == "lora":
        for parameter, value in adapter_values(model, recipe.seed):
            copy_part(parameter, _rows(value))
    return model


def _rows(value: Tensor) -> Read:
    return lambda first, last: value[first:last] if value.ndim else value


def _fill(own: Mapping[str, Tensor], component: str, parent: Parent) -> None:
    """Stream a component of `parent` into the parameters that this process holds of it."""
    wanted = {name for name in own if name.startswith(f"{component}.")}
    for name, shape, read in _named(component, parent):
        if name not in wanted or tuple(own[name].shape) != shape:
            needed = tuple(own[name].shape) if name in wanted else "no such parameter"
            raise CheckpointError(f"parent: {parent.spec!r}: {name} is {shape}, this model has {needed}")
        copy_part(own[name], read)
        wanted.discard(name)
    if wanted:
        raise CheckpointError(f"parent: {parent.spec!r} lacks {min(wanted)} ({len(wanted)} in all)")


def _named(component: str, parent: Parent) -> Iterator[tuple[str, tuple[int, ...], Read]]:
    for name, shape, read in open_component(parent.folder, component):
        yield f"{component}.{name}", shape, read
