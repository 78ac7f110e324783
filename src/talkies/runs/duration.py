"""How long a sound is made: as asked for, as its script takes, or as long as the model's clips."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

from talkies.config import RecipeError
from talkies.config.quoting import shown
from talkies.generate.prompts import Asked
from talkies.parallel.ranks import Ranks
from talkies.prepare.geometry import Geometry
from talkies.recipe.check import grids
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.media import makes

FEWEST = 4
"""Latent steps, at least."""
HURRIED = 1.25
"""How much faster than a model's pace a script may have to be said without a word."""
_log = logging.getLogger(__name__)


def duration(asked: Asked, recipe: PhaseRecipe) -> float | None:
    """Seconds of what is made; None: as long as clips of the recipe's geometry. RecipeError for seconds that a model
    of the recipe cannot make, or for a script that takes more than it has, or could not be said that fast."""
    if makes(recipe) != ("audio",):
        if asked.seconds is not None:
            raise RecipeError(
                f"{asked.at('seconds')} is for sound alone; clips with pictures are as long as --geometry says: drop it"
            )
        return None
    found = _as_asked(asked, recipe)
    if found is not None:
        _check_cut(asked, recipe, found)
    return found


def _as_asked(asked: Asked, recipe: PhaseRecipe) -> float | None:
    least, most = _bounds(recipe)
    if asked.seconds is not None and not least <= asked.seconds <= most:
        found = f"{asked.at('seconds')} is {shown(asked.seconds)}"
        raise RecipeError(f"{found}: this model makes {least:.2f} to {most:g} s")
    _check_haste(asked, recipe, most)
    if asked.seconds is not None:
        return float(asked.seconds)
    takes = _takes(asked, recipe)
    if takes is not None and takes > most:
        raise RecipeError(
            f"{asked.verb}: {_script(asked)} takes {takes:.1f} s at this model's pace, and it makes at most {most:g} "
            f"s: shorten it, or give {asked.option('seconds')} to have it said faster"
        )
    return None if takes is None else max(takes, least)


def _check_haste(asked: Asked, recipe: PhaseRecipe, most: float) -> None:
    """RecipeError for a script that nobody could say in the seconds that are asked for, or in the `most` of a sound."""
    shortest = recipe.system.captions.least_seconds(recipe.model, asked.prompt or "")
    found = f"{asked.verb}: {_script(asked)} takes at least {shortest or 0.0:.2f} s"
    if shortest is not None and shortest > most:
        raise RecipeError(f"{found}, and this model makes at most {most:g} s: shorten it")
    if shortest is not None and asked.seconds is not None and shortest > asked.seconds:
        raise RecipeError(
            f"{found}, and {asked.option('seconds')} is {asked.seconds:g}: shorten it, or give more seconds"
        )


def _check_cut(asked: Asked, recipe: PhaseRecipe, seconds: float) -> None:
    """RecipeError for a sound whose latents the system cannot cut into tokens."""
    longest = grids(recipe, Geometry.parse(recipe.data.geometry, key="data.geometry"))
    targets = {name: longest[name] for name in parts(recipe).targets}
    cut = {name: replace(grid, shape=(math.ceil(seconds * grid.rate),)) for name, grid in targets.items()}
    try:
        recipe.system.tokens(recipe, cut)
    except ValueError as error:
        raise RecipeError(f"{asked.at('seconds')} {seconds:g}: {error}") from None


def warn_of_haste(asked: Sequence[Asked], recipe: PhaseRecipe, ranks: Ranks) -> None:
    """Warn of scripts that have to be said much faster than at the model's pace, because `seconds` are asked for."""
    for one in asked if ranks.main else ():
        takes = _takes(one, recipe)
        if takes is not None and one.seconds is not None and takes > HURRIED * one.seconds:
            _log.warning(
                f"{one.verb}: {_script(one)} takes {takes:.1f} s at this model's pace, more than the {one.seconds:g} s "
                "that are asked for: words may be lost"
            )


def _takes(asked: Asked, recipe: PhaseRecipe) -> float | None:
    return recipe.system.captions.seconds(recipe.model, asked.prompt or "")


def _script(asked: Asked) -> str:
    """The script, as messages call it."""
    return f"the script of {asked.option('script' if 'script' in asked.worded else 'prompt')}"


def _bounds(recipe: PhaseRecipe) -> tuple[float, float]:
    """The least and the most seconds of a sound."""
    geometry = Geometry.parse(recipe.data.geometry, key="data.geometry")
    found = grids(recipe, geometry)
    most = float(geometry.seconds)
    return min(most, max(float(FEWEST / found[name].rate) for name in parts(recipe).targets)), most
