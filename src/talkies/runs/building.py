"""From a recipe to the network of a phase, on any layout: meta, LoRA, recomputation, shards, then the weights.

No process ever holds more than its own part and one module of the whole.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from talkies.checkpoints.names import renamed
from talkies.checkpoints.release import names_schema, open_component
from talkies.config import CheckpointError
from talkies.config.quoting import shown
from talkies.models.build import build, draw_weights
from talkies.nn.lowering import hold_lowered, lowered_parameters
from talkies.parallel.arrange import Read, arrange, placed, viewed
from talkies.parallel.config import ComputeConfig
from talkies.parallel.mesh import Mesh
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.runs.parents import Parent
from talkies.training.lora import adapter_values, add_lora, load_adapter, plain_name


def build_model(
    recipe: PhaseRecipe, parents: Mapping[str, Parent], mesh: Mesh | None = None, *, trains: bool = True
) -> nn.Module:
    """The phase's model: its parents' weights, random ones from the recipe's seed for the other components, then LoRA.

    Values are the same on every layout; without `trains`, in the dtypes that evaluations need (`hold_lowered`). Raises
    CheckpointError for a parent whose weights do not match this model.
    """
    components = parts(recipe).components
    model = _structure(recipe, mesh, recipe.compute, trains=trains)
    put = placed(model, mesh)
    parameters = _by_plain_name(model)
    for component, parent in parents.items():
        _fill(parameters, put, component, parent.folder, f"parent {shown(parent.spec)}")
    skeleton = build(recipe.system, recipe, components, seed=None)
    for name, value in draw_weights(skeleton, recipe.seed, components - parents.keys()):
        put(parameters[name][0], _rows(value))
    if recipe.train.kind == "lora":
        for name, value in adapter_values(model, recipe.seed):
            put(name, _rows(value))
    return model


def restore_model(
    recipe: PhaseRecipe, base: Path, adapter: Path | None, mesh: Mesh | None = None, *, mapped: bool = False
) -> nn.Module:
    """The model of a release, on any layout, for evaluations: the components of `base` and, for a LoRA, its `adapter`
    folder. `mapped`, for one process: weights are views of the release's files where these have their dtype.

    Raises CheckpointError for weights that do not match this model.
    """
    model = _structure(recipe, mesh, ComputeConfig(), trains=False)
    put = viewed(model) if mapped else placed(model, mesh)
    parameters = _by_plain_name(model)
    for component in sorted(parts(recipe).components):
        _fill(parameters, put, component, base, str(base))
    if adapter is not None:
        assert recipe.train.kind == "lora"
        for name, p in [*model.named_parameters()] if mapped else ():
            if ".lora_" in name:
                put(name, _rows(torch.empty(p.shape)))
        load_adapter(model, adapter, recipe.train, rename=partial(renamed, schema=names_schema(adapter.parent)))
    return model


def _structure(recipe: PhaseRecipe, mesh: Mesh | None, compute: ComputeConfig, *, trains: bool) -> nn.Module:
    """The phase's model on its layout, without values."""
    built = parts(recipe)
    model = build(recipe.system, recipe, built.components, seed=None)
    for component in built.frozen:
        model.get_submodule(component).requires_grad_(False)
    if recipe.train.kind == "lora":
        add_lora(model, recipe.train)
    bf16, units = recipe.precision == "bf16", [*recipe.system.network().units(model)]
    if bf16 and mesh is None and not trains:
        hold_lowered(model)
    elif compute.masters == "bf16":
        _hold_frozen(units)
    arrange(model, units, mesh, compute, bf16=bf16)
    return model


def _hold_frozen(units: Iterable[nn.Module]) -> None:
    """Hold the frozen weights of matmuls in units, on the meta device, in bf16, to which training rounds them at every
    use, on every layout. Outside of units only autocast over the whole network does, and FSDP2 and DeepSpeed have none.
    """
    for parameter in (p for unit in units for p in lowered_parameters(unit) if not p.requires_grad):
        parameter.data = parameter.data.to(torch.bfloat16)


def _by_plain_name(model: nn.Module) -> dict[str, tuple[str, Tensor]]:
    """A parameter's name without LoRA -> its name in `model`, and the parameter; adapters are left out."""
    return {plain_name(name): (name, p) for name, p in model.named_parameters() if ".lora_" not in name}


def _rows(value: Tensor) -> Read:
    return lambda first, last: value[first:last] if value.ndim else value


def _fill(
    parameters: Mapping[str, tuple[str, Tensor]],
    put: Callable[[str, Read], None],
    component: str,
    release: Path,
    named: str,
) -> None:
    """Stream a component of `release` into the parameters that this process holds of it."""
    wanted = {name for name in parameters if name.startswith(f"{component}.")}
    for key, shape, read in open_component(release, component):
        name = f"{component}.{key}"
        if name not in wanted or tuple(parameters[name][1].shape) != shape:
            needed = tuple(parameters[name][1].shape) if name in wanted else "no such parameter"
            raise CheckpointError(f"weights: {named}: {name} is {shape}, this model has {needed}")
        put(parameters[name][0], read)
        wanted.discard(name)
    if wanted:
        raise CheckpointError(f"weights: {named} lacks {min(wanted)} ({len(wanted)} in all)")
