"""A phase's model as it is evaluated: in the recipe's precision, with weights where its sampling says."""

from dataclasses import replace

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from talkies.config import RecipeError
from talkies.flow.config import Offload
from talkies.parallel.autocasted import Autocasted
from talkies.parallel.offload import offloaded
from talkies.parallel.ranks import Ranks
from talkies.recipe.config import PhaseRecipe
from talkies.streams.batch import Denoiser
from talkies.streams.codec import Codecs


def with_offload(recipe: PhaseRecipe, offload: Offload | None, ranks: Ranks) -> PhaseRecipe:
    """`recipe`, with another `offload` if one is given. RecipeError if several processes would offload."""
    found = recipe.sampling.offload if offload is None else offload
    if found != "none" and ranks.world.size > 1:
        raise RecipeError(
            f"source: `sampling.offload` is {found}, but {ranks.world.size} processes share the weights already: use "
            "one process, or --offload none"
        )
    return replace(recipe, sampling=replace(recipe.sampling, offload=found))


def denoiser_of(recipe: PhaseRecipe, model: nn.Module, codecs: Codecs, device: torch.device) -> Denoiser:
    """`model` in the precision of its recipe, on `device` as its sampling says."""
    system, how = recipe.system, recipe.sampling.offload
    denoiser: Denoiser = model.to(device) if how == "none" else model
    if how != "none":
        groups = {name: one.group for name, one in system.components(recipe).items()}
        denoiser = offloaded(model, system.network().units(model), groups, codecs, how=how, device=device)
    sharded = any(isinstance(p, DTensor) for p in model.parameters())  # by FSDP2, whose policy lowers
    return Autocasted(denoiser, device) if recipe.precision == "bf16" and not sharded else denoiser
