"""Checks that this machine can run a phase, made once its data are open and before anything trains."""

import os
from math import prod

from talkies.config import RecipeError
from talkies.config.quoting import shown
from talkies.data.shards import ShardSet
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe

REPEATS = 100
"""How often a step may see a clip."""
NUMBER_BYTES = 4


def check_workers(recipe: PhaseRecipe) -> None:
    """Raise RecipeError for more loader processes than this machine could run."""
    cores = os.cpu_count() or 1
    most = max(16, 4 * cores)
    if recipe.data.workers > most:
        raise RecipeError(
            f"recipe: `data.workers` is {recipe.data.workers}, but this machine has {cores} cores, which allow at most "
            f"{most}: lower it"
        )


def check_step(recipe: PhaseRecipe, shards: ShardSet) -> None:
    """Raise RecipeError for a step that repeats its clips more than REPEATS times, or whose micro-batch does not fit in
    this machine's memory."""
    steps, layout = recipe.steps, recipe.parallel
    if steps.global_batch > REPEATS * len(shards):
        raise RecipeError(
            f"recipe: `steps.global_batch` is {steps.global_batch}, but set {shown(recipe.data.shards)} has "
            f"{len(shards)} clips, which a step would repeat more than {REPEATS} times: lower it"
        )
    micro = steps.global_batch * layout.sequence // (steps.accumulate * layout.ranks)
    needed = micro * NUMBER_BYTES * sum(prod(shards.grids[name].latent_shape) for name in parts(recipe).read)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise RecipeError(
            f"recipe: `steps.global_batch` {steps.global_batch} gives micro-batches of {micro} clips, which have "
            f"{needed} bytes of latents, and this machine has {memory} bytes of memory: lower it, or raise "
            "`steps.accumulate`"
        )
