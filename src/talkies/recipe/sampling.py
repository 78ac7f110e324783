"""Checks of sampling: of a recipe, and with the changes of a command line."""

import math

from talkies.config import RecipeError
from talkies.flow.config import ReuseConfig, SamplingConfig, SkipLayerConfig
from talkies.flow.ladder import left_out
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe


def check_sampling(recipe: PhaseRecipe, sampling: SamplingConfig) -> None:
    """RecipeError if `sampling` does not fit the recipe's model, or has a setting without effect."""
    recipe.system.check(recipe, sampling.scales)
    _check_steps(recipe, sampling)
    if sampling.skip_layer is not None:
        _check_skip_layer(sampling.skip_layer, parts(recipe).blocks)
    if sampling.reuse is not None:
        others = sampling.skip_layer is not None or left_out(
            recipe.system.ladder(recipe), sampling.scales, sampling.steps
        )
        _check_reuse(sampling.reuse, sampling.steps, others=bool(others))


def _check_steps(recipe: PhaseRecipe, sampling: SamplingConfig) -> None:
    schedule = sampling.schedule
    if schedule.kind != "linear_quadratic_grid":
        return
    wanted = {"sampling.steps": sampling.steps, "validation.sampling_steps": recipe.validation.sampling_steps}
    for key, steps in wanted.items():
        if steps > schedule.steps:
            raise RecipeError(
                f"recipe: `{key}` is {steps}, but the grid of `sampling.schedule` has {schedule.steps} noise levels: "
                "lower it, or set `sampling.schedule.kind` to linear_quadratic"
            )


def _check_skip_layer(config: SkipLayerConfig, blocks: int) -> None:
    if (highest := max(config.layers)) >= blocks:
        raise RecipeError(
            f"recipe: `sampling.skip_layer.layers` has {highest}, but "
            + (f"the blocks of this model are 0 to {blocks - 1}" if blocks else "this model can skip no blocks")
        )
    if len({*config.layers}) < len(config.layers):
        raise RecipeError("recipe: `sampling.skip_layer.layers` names a block twice: name each once")


def _check_reuse(config: ReuseConfig, steps: int, *, others: bool) -> None:
    if config.attention_every == config.branches_every == 1:
        raise RecipeError(
            "recipe: `sampling.reuse` reuses nothing: set its `attention_every` or `branches_every` above 1, or drop it"
        )
    if math.ceil(config.after * steps) > steps - 2:
        raise RecipeError(
            f"recipe: `sampling.reuse.after` {config.after:g} leaves fewer than two of {steps} steps, so nothing is "
            "reused: lower it, or drop `sampling.reuse`"
        )
    if config.branches_every > 1 and not others:
        raise RecipeError(
            "recipe: `sampling.reuse.branches_every` is set, but there is no guidance whose evaluations it saves: set "
            "a scale other than 1, or drop it"
        )
