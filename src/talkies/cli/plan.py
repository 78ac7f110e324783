"""talkies plan RECIPE: the costs of a phase, a curriculum or a preparation, before anything is queued; with --sample,
those of sampling from a recipe, a run or a release on one GPU."""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkies.cli.clip_size import (
    MAX_BATCH,
    add_clip_size,
    at_geometry,
    size_options,
    tiles_of,
    whole,
)
from talkies.planning.gpu_sizes import GPUS

if TYPE_CHECKING:
    from talkies.planning.plan import Options, Plan
    from talkies.prepare.config import PrepareConfig
    from talkies.recipe.config import PhaseRecipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "recipe", type=Path, help="a phase, a curriculum or a preparation; to --sample, also a run or a release"
    )
    parser.add_argument(
        "overrides", nargs="*", help="key.path=value; in a curriculum PHASE.key..., phases.key... or prepare.key..."
    )
    parser.add_argument("--json", action="store_true", help="print JSON, in plain numbers and bytes")
    rates = parser.add_argument_group("assumed rates of a GPU and a file system")
    rates.add_argument("--flops-rate", type=float, metavar="FLOP/S", help="peak of one GPU (default: 989e12, an H100)")
    rates.add_argument("--mfu", type=float, help="share of the peak, counting recomputation (default: 0.35)")
    rates.add_argument("--measured-rate", type=float, metavar="FLOP/S", help="what one GPU sustains, instead of --mfu")
    rates.add_argument("--write-rate", type=float, metavar="BYTES/S", help="of all ranks together (default: 5e9)")
    parser.add_argument("--card", type=int, choices=GPUS, help="GB of a GPU that the layout, or sampling, has to fit")
    parser.add_argument("--sample", action="store_true", help="plan sampling on one GPU: what each --offload needs")
    add_clip_size(parser.add_argument_group("with --sample, as of talkies sample"))


def run(args: argparse.Namespace) -> int:
    """Print the plan of any kind of recipe."""
    from talkies.config.decode import decode
    from talkies.config.source import load, unresolved
    from talkies.models.systems import SYSTEMS
    from talkies.prepare.config import PrepareConfig
    from talkies.recipe.config import decode_phase, kind_of
    from talkies.recipe.curriculum import load_curriculum
    from talkies.runs.curriculum_check import check_recipes

    if args.sample:
        return _sample(args)
    _refuse_options(args, ("geometry", "batch", "tiles"), "for sampling: add --sample, or drop it")
    kind, options = kind_of(unresolved(args.recipe)), options_of(args)
    if kind == "curriculum":
        curriculum = load_curriculum(args.recipe, args.overrides, systems=SYSTEMS)
        check_recipes(curriculum)
        return _print(args, [plan_phase(phase, options) for phase in curriculum.phases], curriculum.prepare)
    source = load(args.recipe, args.overrides)
    if kind == "prepare":
        return _print(args, [], decode(PrepareConfig, source))
    recipe = decode_phase(source, SYSTEMS)
    planned = plan_phase(recipe, options)
    if recipe.data.root is not None and Path(recipe.data.root).is_dir():
        from talkies.runs.preflight import check_root

        check_root(recipe, Path(recipe.data.root))
    return _print(args, [planned], None)


def _sample(args: argparse.Namespace) -> int:
    """Print the plan of sampling."""
    from talkies.planning.render_sampling import render_sampling
    from talkies.planning.sampling import plan_sampling
    from talkies.prepare.geometry import Geometry
    from talkies.recipe.check import grids
    from talkies.recipe.components import parts

    _refuse_options(args, ("flops_rate", "mfu", "measured_rate", "write_rate"), "for training: drop it, or --sample")
    recipe, lacks = _sampled(args)
    recipe = _sized(args, recipe)
    found = grids(recipe, Geometry.parse(recipe.data.geometry, key="data.geometry"))
    plan = plan_sampling(recipe, components=parts(recipe).components, grids=found, card=args.card, lacks=lacks)
    print(json.dumps(plan.to_json(), indent=2) if args.json else render_sampling(plan))
    return 0


def _refuse_options(args: argparse.Namespace, names: Iterable[str], reason: str) -> None:
    """RecipeError for an option that would be ignored."""
    from talkies.config import RecipeError

    for name in names:
        if getattr(args, name) is not None:
            raise RecipeError(f"plan: --{name.replace('_', '-')} is {reason}")


def _sized(args: argparse.Namespace, recipe: "PhaseRecipe") -> "PhaseRecipe":
    """`recipe` for the clips that the command line asks for. RecipeError as of `sample`."""
    from talkies.recipe.sampling import check_sampling

    recipe = at_geometry(args, "plan", recipe)
    base = recipe.sampling
    batch, tiles = whole(args, "plan", "batch", MAX_BATCH) or base.batch, tiles_of(args, "plan", base.tiles)
    sampling = replace(base, batch=batch, tiles=tiles)
    check_sampling(recipe, sampling, options=size_options(args, "plan"))
    return replace(recipe, sampling=sampling)


def _sampled(args: argparse.Namespace) -> tuple["PhaseRecipe", Sequence[str]]:
    """The recipe of what is sampled, a file, a run, or a release, and the codecs that it lacks."""
    from talkies.config import RecipeError
    from talkies.config.source import load, unresolved
    from talkies.models.systems import SYSTEMS
    from talkies.recipe.check import check
    from talkies.recipe.config import decode_phase, kind_of
    from talkies.runs.source_recipe import recipe_in

    path = args.recipe
    if path.is_dir():
        if args.overrides:
            raise RecipeError(f"plan: {args.overrides[0]}: {path} is what it is; overrides are for a recipe")
        return recipe_in(path, SYSTEMS, what="plan")
    if (kind := kind_of(unresolved(path))) != "phase":
        raise RecipeError(f"plan: --sample: {path} is a {kind}: give one of its phases, a run or a release")
    recipe = decode_phase(load(path, args.overrides), SYSTEMS)
    check(recipe)
    return recipe, ()


def _print(args: argparse.Namespace, plans: "list[Plan]", prepare: "PrepareConfig | None") -> int:
    from talkies.data.records import GridRecord
    from talkies.models.systems import SYSTEMS
    from talkies.planning.render import render, render_sets
    from talkies.planning.sets import plan_sets

    sets = plan_sets(prepare, SYSTEMS) if prepare is not None else {}
    if not args.json:
        texts = [render_sets(prepare.name, sets)] if prepare is not None else []
        print("\n\n\n".join([*texts, *map(render, plans)]))
        return 0
    values: dict[str, Any] = {
        "sets": {
            key: {name: GridRecord.of(grid).to_json() for name, grid in grids.items()} for key, grids in sets.items()
        }
    }
    values["phases"] = [plan.to_json() for plan in plans]
    print(json.dumps(values["phases"][0] if prepare is None else values, indent=2))
    return 0


def options_of(args: argparse.Namespace) -> "Options":
    """The assumptions of the command line. Raises RecipeError for a rate out of range, and for two that conflict."""
    from talkies.config import RecipeError
    from talkies.planning.plan import Options
    from talkies.planning.speed import Rate

    given = {name: getattr(args, name) for name in ("flops_rate", "mfu", "measured_rate", "write_rate")}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        low, high = (1e-6, 1.0) if name == "mfu" else (1.0, 1e30)
        if not low <= value <= high:
            raise RecipeError(f"plan: --{name.replace('_', '-')} is {value}: give a value from {low:g} to {high:g}")
    if "mfu" in given and "measured_rate" in given:
        raise RecipeError("plan: --mfu and --measured-rate both set what a GPU sustains: give one of them")
    names = {"flops_rate": "peak", "mfu": "mfu", "measured_rate": "measured"}
    rate = Rate(**{names[name]: value for name, value in given.items() if name in names})
    rest = {name: value for name, value in given.items() if name == "write_rate"}
    return Options(rate=rate, card=args.card, **rest)


def plan_phase(recipe: "PhaseRecipe", options: "Options | None" = None) -> "Plan":
    """The plan of one phase recipe. Raises RecipeError or DataError if its sections disagree, or its layout does not
    divide evenly or does not fit a GPU."""
    from talkies.planning.plan import plan
    from talkies.recipe.check import check, check_trained
    from talkies.recipe.components import parts

    found = check(recipe)
    check_trained(recipe)
    return plan(recipe, components=parts(recipe).components, grids=found, options=options)
