"""Options of verbs that make clips, or plan them: how large they are, and how much is computed at once."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from talkies.config.quoting import shown

MAX_BATCH, MAX_SIDE = 1024, 8192

if TYPE_CHECKING:
    from talkies.flow.config import TilesConfig
    from talkies.prepare.geometry import Geometry
    from talkies.recipe.config import PhaseRecipe


def add_clip_size(parser: argparse._ActionsContainer) -> None:
    """--geometry, --batch and --tiles, over the recipe's."""
    parser.add_argument(
        "--geometry",
        metavar="HxWxF@FPS",
        help="size and length of the clips (the recipe's); of sound alone seconds: 10s",
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", help="the most evaluations at once, clips times guidance (the recipe's)"
    )
    parser.add_argument(
        "--tiles", type=int, metavar="SIZE", help="encode and decode in squares of so many pixels (the recipe's)"
    )


def whole(args: argparse.Namespace, verb: str, name: str, highest: int) -> int | None:
    """The whole number of an option; RecipeError unless it is 1 to `highest`."""
    from talkies.config import RecipeError

    value: int | None = getattr(args, name)
    if value is not None and not 1 <= value <= highest:
        raise RecipeError(f"{verb}: --{name} {shown(value)}: give a value from 1 to {highest}")
    return value


def geometry_of(args: argparse.Namespace, verb: str) -> "Geometry | None":
    """The geometry that is asked for. RecipeError if it is none."""
    from talkies.config import RecipeError
    from talkies.prepare.geometry import Geometry

    if args.geometry is None:
        return None
    try:
        return Geometry.parse(args.geometry, key="--geometry")
    except RecipeError as error:
        raise RecipeError(f"{verb}: {str(error).removeprefix('recipe: ')}") from None


def at_geometry(args: argparse.Namespace, verb: str, recipe: "PhaseRecipe") -> "PhaseRecipe":
    """`recipe` for clips of the geometry that is asked for. RecipeError if a codec or the system cannot make them, or
    for pixels of sound alone."""
    from talkies.config import RecipeError
    from talkies.recipe.check import cut_grids
    from talkies.recipe.media import makes

    if (geometry := geometry_of(args, verb)) is None:
        return recipe
    if makes(recipe) == ("audio",) and not geometry.sound_alone:
        raise RecipeError(
            f"{verb}: --geometry {geometry.spelled} is of pictures, and {recipe.phase.kind} phases make sound alone: "
            f"give seconds, such as {float(geometry.seconds):.3g}s"
        )
    found = replace(recipe, data=replace(recipe.data, geometry=str(geometry)))
    cut_grids(found, geometry, where=f"{verb}: --geometry")
    return found


def tiles_of(args: argparse.Namespace, verb: str, base: "TilesConfig | None") -> "TilesConfig | None":
    """Tiles of the size that is asked for, with the overlap of `base`, or at most a quarter of them; else `base`."""
    from talkies.flow.config import TilesConfig

    if (size := whole(args, verb, "tiles", MAX_SIDE)) is None:
        return base
    least = TilesConfig(size=size).overlap
    return TilesConfig(size=size, overlap=base.overlap if base else min(least, size // 64 * 16))


def size_options(args: argparse.Namespace, verb: str) -> dict[str, str]:
    """Key of the recipe -> the option that gives it here, as messages call it (recipe/sampling.py)."""
    given = {"sampling.tiles": ("tiles", args.tiles), "data.geometry": ("geometry", args.geometry)}
    return {key: f"{verb}: --{name} {value}" for key, (name, value) in given.items() if value is not None}
