"""Checks of sampling: of a recipe, and with the changes of a command line."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from talkies.config import RecipeError
from talkies.flow.config import GridSchedule, ReuseConfig, SamplingConfig, SkipLayerConfig, TilesConfig, WindowsConfig
from talkies.flow.ladder import left_out
from talkies.prepare.geometry import Geometry
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe

SCALES = "sampling.scales."
Options = Mapping[str, str]
"""Key of the recipe -> the option that gives it in the recipe's place, with verb and value, as messages call it."""


def check_sampling(recipe: PhaseRecipe, sampling: SamplingConfig, *, options: Options = MappingProxyType({})) -> None:
    """RecipeError, which names what gives the value, if `sampling` does not fit the recipe's model, or has a setting
    without effect."""
    _check_scales(recipe, sampling, options)
    _check_steps(recipe, sampling, options)
    if sampling.skip_layer is not None:
        _check_skip_layer(sampling.skip_layer, parts(recipe).blocks)
    if sampling.reuse is not None:
        others = sampling.skip_layer is not None or left_out(
            recipe.system.ladder(recipe), sampling.scales, sampling.steps
        )
        _check_reuse(sampling.reuse, blocks=parts(recipe).blocks)
        _check_saving(sampling.reuse, sampling.steps, options, others=bool(others))
    if sampling.windows is not None:
        _check_windows(recipe, sampling.windows, options)
    if sampling.tiles is not None:
        _check_tiles(recipe, sampling.tiles, options.get("sampling.tiles"))


def _check_scales(recipe: PhaseRecipe, sampling: SamplingConfig, options: Options) -> None:
    try:
        recipe.system.check(recipe, sampling.scales)
    except RecipeError as error:
        message = str(error)
        for key, option in options.items():
            message = message.replace(f"recipe: `{key}`", option)
        raise RecipeError(message) from None


def _check_steps(recipe: PhaseRecipe, sampling: SamplingConfig, options: Options) -> None:
    schedule = sampling.schedule
    if not isinstance(schedule, GridSchedule):
        return
    wanted = {"sampling.steps": sampling.steps, "validation.sampling_steps": recipe.validation.sampling_steps}
    for key, steps in wanted.items():
        if steps > schedule.steps and key in options:
            raise RecipeError(
                f"{options[key]}: the grid of the recipe's `sampling.schedule` has {schedule.steps} noise levels: give "
                "at most as many"
            )
        if steps > schedule.steps:
            raise RecipeError(
                f"recipe: `{key}` is {steps}, but the grid of `sampling.schedule` has {schedule.steps} noise levels: "
                f"lower it, or set `sampling.schedule.kind` to {schedule.kind.removesuffix('_grid')}"
            )


def _check_skip_layer(config: SkipLayerConfig, blocks: int) -> None:
    if (highest := max(config.layers)) >= blocks:
        raise RecipeError(
            f"recipe: `sampling.skip_layer.layers` has {highest}, but "
            + (f"the blocks of this model are 0 to {blocks - 1}" if blocks else "this model can skip no blocks")
        )
    if len({*config.layers}) < len(config.layers):
        raise RecipeError("recipe: `sampling.skip_layer.layers` names a block twice: name each once")


def _check_windows(recipe: PhaseRecipe, config: WindowsConfig, options: Options) -> None:
    system, part, stored = recipe.system, parts(recipe), recipe.system.stored(recipe.codecs)
    media = {name: system.codecs[stored[name].codec] for name in part.streams if name in stored}
    makes = any(media.get(name) == "video" for name in part.targets)
    if not makes or "audio" not in media.values() or "audio" not in system.options:
        what = options.get("sampling.windows", "recipe: `sampling.windows`")
        raise RecipeError(
            f"{what} is for videos that are made for a sound, which {recipe.phase.kind} phases do not make: drop it"
        )
    geometry = Geometry.parse(recipe.data.geometry, key="data.geometry")
    if config.overlap * geometry.fps > geometry.frames - 1:
        raise RecipeError(_no_shorter(config.overlap, geometry, options))


def _no_shorter(overlap: float, geometry: Geometry, options: Options) -> str:
    """What to say of windows that overlap by a whole clip."""
    own, size = options.get("sampling.windows"), options.get("data.geometry")
    lasts = f"a clip lasts {geometry.frames / geometry.fps:g} s"
    if own is not None:
        of = f"`data.geometry` {geometry.spelled}" if size is None else "--geometry"
        return f"{own}: {lasts} ({of}): give less"
    if size is not None:
        return f"{size}: {lasts}, but the recipe's `sampling.windows.overlap` is {overlap:g} s: give longer clips"
    return (
        f"recipe: `sampling.windows.overlap` is {overlap:g} s, but {lasts} (`data.geometry` {geometry.spelled}): "
        "lower it"
    )


def _check_tiles(recipe: PhaseRecipe, config: TilesConfig, option: str | None) -> None:
    what = option or "recipe: `sampling.tiles`"
    stored, targets = recipe.system.stored(recipe.codecs), parts(recipe).targets
    video = [name for name in (stored[target].codec for target in targets) if recipe.codecs[name].medium == "video"]
    if not video:
        raise RecipeError(f"{what} is for pictures, which {recipe.phase.kind} phases lack: drop it")
    codec: Any = recipe.codecs[video[0]]
    if not getattr(codec, "tiled", False):
        raise RecipeError(f"{what}: {codec.kind} codecs do not decode in tiles: drop it")
    for key, value in (("size", config.size), ("overlap", config.overlap)):
        if value % codec.block:
            found = (
                f"recipe: `sampling.tiles.{key}` is {value}, but" if option is None or key == "overlap" else f"{what}:"
            )
            raise RecipeError(
                f"{found} {codec.kind} codecs decode blocks of {codec.block} pixels: give a multiple of {codec.block}"
            )
    if 2 * config.overlap > config.size and option is not None:
        raise RecipeError(
            f"{option}: the recipe's `sampling.tiles.overlap` is {config.overlap}, more than half of it: give at least "
            f"{2 * config.overlap}"
        )
    if 2 * config.overlap > config.size:
        raise RecipeError(
            f"recipe: `sampling.tiles.overlap` is {config.overlap}, more than half of the `size` {config.size}: lower "
            "it, or raise the size"
        )


def _check_reuse(config: ReuseConfig, *, blocks: int) -> None:
    if config.attention_every == config.branches_every == 1:
        raise RecipeError(
            "recipe: `sampling.reuse` reuses nothing: set its `attention_every` or `branches_every` above 1, or drop it"
        )
    if config.attention_every > 1 and not blocks:
        raise RecipeError(
            "recipe: `sampling.reuse.attention_every` is set, but this model reuses no attention: drop it"
        )


def _check_saving(config: ReuseConfig, steps: int, options: Options, *, others: bool) -> None:
    """RecipeError if so many steps, or the scales (are there `others` than the full evaluation?) leave nothing to
    reuse."""
    if math.ceil(config.after * steps) > steps - 2:
        found, lower = (
            ("recipe: `sampling.reuse.after`", "lower it, or drop `sampling.reuse`")
            if (option := options.get("sampling.steps")) is None
            else (f"{option}: the recipe's `sampling.reuse.after`", "give more steps")
        )
        raise RecipeError(
            f"{found} {config.after:g} leaves fewer than two of {steps} steps, so nothing is reused: {lower}"
        )
    if config.branches_every > 1 and not others:
        scale = next((option for key, option in options.items() if key.startswith(SCALES)), None)
        if scale is not None:
            raise RecipeError(
                f"{scale}: no guidance is left whose evaluations the recipe's `sampling.reuse.branches_every` saves: "
                "set a scale other than 1"
            )
        raise RecipeError(
            "recipe: `sampling.reuse.branches_every` is set, but there is no guidance whose evaluations it saves: set "
            "a scale other than 1, or drop it"
        )
