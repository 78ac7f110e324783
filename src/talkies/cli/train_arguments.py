"""The recipe and the options of `talkies train`, checked before torch is imported."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from talkies.recipe.config import PhaseRecipe
    from talkies.recipe.curriculum import Curriculum


def load_recipe(args: argparse.Namespace) -> "PhaseRecipe | Curriculum":
    """The recipe, decoded and checked as far as possible without torch and data. RecipeError if the recipe or an option
    is invalid."""
    from talkies.config import RecipeError
    from talkies.config.source import load, unresolved
    from talkies.models.systems import SYSTEMS
    from talkies.recipe.check import check, check_trained
    from talkies.recipe.config import decode_phase, kind_of
    from talkies.recipe.curriculum import load_curriculum

    kind = kind_of(unresolved(args.recipe))
    _check_options(args, kind)
    if kind == "curriculum":
        curriculum = load_curriculum(args.recipe, args.overrides, systems=SYSTEMS)
        if args.phase is not None:
            curriculum.known_phase(args.phase)
        return curriculum
    recipe = decode_phase(load(args.recipe, args.overrides), SYSTEMS)
    check(recipe)
    check_trained(recipe)
    if recipe.data.root is None:
        raise RecipeError(
            "train: `data.root` is not set: prepare the data and give data.root=FOLDER, or train a curriculum"
        )
    return recipe


def _check_options(args: argparse.Namespace, kind: str) -> None:
    """RecipeError if an option does not go with another one, or with the `kind` of the recipe."""
    from talkies.config import RecipeError

    if kind == "prepare":
        raise RecipeError(f"train: {args.recipe} is a prepare recipe; train takes a phase or a curriculum")
    if kind == "curriculum" and args.stop_at is not None:
        raise RecipeError("train: --stop-at takes a phase recipe, not a curriculum; drop it")
    if args.stop_at is not None and args.stop_at < 1:
        raise RecipeError(f"train: --stop-at {args.stop_at}: give an optimizer step, 1 or later")
    if args.phase is not None and kind != "curriculum":
        raise RecipeError("train: --phase takes a curriculum, not a phase recipe; drop it")
    if args.folder is not None and args.new:
        raise RecipeError("train: --folder is a run to work in, --new another one; give one of the two")
