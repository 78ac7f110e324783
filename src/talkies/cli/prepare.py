"""talkies prepare RECIPE: media to filtered, captioned, encoded clips in shards, with a report."""

import argparse
import sys
from pathlib import Path

from talkies.cli.place import add_runs, registry_of, store_of
from talkies.config.quoting import shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("recipe", type=Path, help="a prepare recipe, or a curriculum that names one")
    parser.add_argument("overrides", nargs="*", help="key.path=value; in a curriculum prepare.key...")
    add_runs(parser)
    parser.add_argument("--part", help="make only 'codecs' (what all sets share), or the set of this number, from 0")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> int:
    """Prepare, and print what was kept and what was quarantined."""
    from talkies.config import RecipeError
    from talkies.config.decode import decode
    from talkies.config.source import load, unresolved
    from talkies.models.systems import SYSTEMS
    from talkies.prepare.config import PrepareConfig
    from talkies.recipe.config import kind_of
    from talkies.recipe.curriculum import load_curriculum
    from talkies.runs.curriculum_check import check_recipes
    from talkies.runs.folders import removed_if_empty
    from talkies.runs.run_context import RunContext, prepare_data, prepare_part

    kind = kind_of(unresolved(args.recipe))
    if kind == "curriculum":
        curriculum = load_curriculum(args.recipe, args.overrides, systems=SYSTEMS)
        check_recipes(curriculum)
        config, folder = curriculum.prepare, curriculum.prepare_folder
    elif kind == "prepare":
        config, folder = decode(PrepareConfig, load(args.recipe, args.overrides)), args.recipe.parent
    else:
        raise RecipeError(f"prepare: {args.recipe} is a {kind} recipe; prepare takes a prepare recipe or a curriculum")
    with removed_if_empty(args.runs):
        store, artifacts = store_of(args.runs, None)
        bar = not args.quiet and sys.stdout.isatty()
        context = RunContext(
            runs=args.runs,
            store=store,
            artifacts=artifacts,
            registry=registry_of(args.runs, None),
            bar=bar,
            systems=SYSTEMS,
        )
        if args.part is not None:
            print(f"data root: {prepare_part(config, context, recipe_folder=folder, number=_number(args.part))}")
            return 0
        root, report = prepare_data(config, context, recipe_folder=folder)
    for line in report.lines():
        print(line)
    print(f"data root: {root}")
    return 0


def _number(part: str) -> int | None:
    """The number of a set; None for the codecs that all sets share."""
    from talkies.config import RecipeError

    if part != "codecs" and not part.isdecimal():
        raise RecipeError(f"prepare: --part {shown(part)}: give 'codecs' or the number of a set, from 0")
    return None if part == "codecs" else int(part)
