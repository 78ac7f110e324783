"""talkies plan RECIPE: what a phase, a curriculum or a preparation will be, before anything is queued."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from talkies.planning.plan import Plan
    from talkies.prepare.config import PrepareConfig
    from talkies.recipe.config import PhaseRecipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("recipe", type=Path, help="a phase, a curriculum or a preparation")
    parser.add_argument("overrides", nargs="*", help="key.path=value; in a curriculum PHASE.key... or phases.key...")
    parser.add_argument("--json", action="store_true", help="print JSON, in plain numbers and bytes")


def run(args: argparse.Namespace) -> int:
    """Print the plan of whatever the recipe is."""
    from talkies.config.decode import decode
    from talkies.config.source import load, unresolved
    from talkies.prepare.config import PrepareConfig
    from talkies.recipe.config import PhaseRecipe, kind_of
    from talkies.recipe.curriculum import load_curriculum

    kind = kind_of(unresolved(args.recipe))
    if kind == "curriculum":
        curriculum = load_curriculum(args.recipe, args.overrides)
        return _print(args, [plan_phase(phase) for phase in curriculum.phases], curriculum.prepare)
    source = load(args.recipe, args.overrides)
    if kind == "prepare":
        return _print(args, [], decode(PrepareConfig, source))
    return _print(args, [plan_phase(decode(PhaseRecipe, source))], None)


def _print(args: argparse.Namespace, plans: "list[Plan]", prepare: "PrepareConfig | None") -> int:
    from talkies.planning.render import render, render_sets
    from talkies.planning.sets import plan_sets

    sets = plan_sets(prepare) if prepare is not None else {}
    if not args.json:
        texts = [render_sets(prepare.name, sets)] if prepare is not None else []
        print("\n\n\n".join([*texts, *map(render, plans)]))
        return 0
    values: dict[str, Any] = {"sets": {key: {m: g.to_json() for m, g in grids.items()} for key, grids in sets.items()}}
    values["phases"] = [plan.to_json() for plan in plans]
    print(json.dumps(values["phases"][0] if prepare is None else values, indent=2))
    return 0


def plan_phase(recipe: "PhaseRecipe") -> "Plan":
    """The plan of one phase recipe. Raises RecipeError or DataError where its sections disagree."""
    from talkies.planning.plan import plan
    from talkies.recipe.check import check
    from talkies.recipe.components import parts

    grids = check(recipe)
    return plan(recipe, components=parts(recipe).components, grids=grids)
