"""talkies show RECIPE: the resolved recipe with where each value came from, its JSON Schema, or what sets two apart."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("recipe", nargs="?", type=Path, help="any recipe: a phase, a preparation or a curriculum")
    parser.add_argument("overrides", nargs="*", help="key.path=value")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of recipe files, for editors")
    parser.add_argument("--diff", type=Path, metavar="OTHER", help="print what OTHER sets otherwise")
    parser.add_argument("--json", action="store_true", help="print JSON: hash, values and origins")


def run(args: argparse.Namespace) -> int:
    """Print one view of a recipe."""
    from talkies.config import RecipeError
    from talkies.config.canonical import recipe_hash, to_dict
    from talkies.config.decode import decode
    from talkies.config.source import load
    from talkies.recipe.config import Recipe

    if args.schema:
        if args.recipe is not None or args.diff is not None:
            raise RecipeError("show: --schema describes every recipe; drop the other arguments")
        return _schema()
    if args.recipe is None:
        raise RecipeError("show: give a RECIPE, or --schema")
    source = load(args.recipe, args.overrides)
    recipe = decode(Recipe, source)
    if args.diff is not None:
        return _difference(args, recipe, decode(Recipe, load(args.diff)))
    if args.json:
        values = {"hash": recipe_hash(recipe), "values": to_dict(recipe), "origins": source.origins}
        print(json.dumps(values, indent=2))
        return 0
    print(f"# {args.recipe}  hash {recipe_hash(recipe)[:12]}")
    print("\n".join(resolved_lines(recipe, source.origins)))
    return 0


def _schema() -> int:
    from talkies.config.schema_json import json_schema
    from talkies.recipe.config import Recipe

    print(json.dumps(json_schema(Recipe), indent=2))
    return 0


def resolved_lines(recipe: Any, origins: Mapping[str, str]) -> list[str]:
    """One line per leaf: key path, value, and the file and line, `override` or `default` that set it."""
    from talkies.config.canonical import flat

    rows = [(path, _shown(value), origins.get(path, "default")) for path, value in flat(recipe).items()]
    wide, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    values = min(values, 48)
    return [f"{path:<{wide}}  {value:<{values}}  {origin}" for path, value, origin in rows]


def _difference(args: argparse.Namespace, recipe: Any, other: Any) -> int:
    from talkies.config.canonical import difference

    found = difference(recipe, other)
    if args.json:
        print(json.dumps({path: {"recipe": a, "other": b} for path, (a, b) in found.items()}, indent=2))
        return 0
    print(
        f"# {args.recipe} -> {args.diff}: {len(found)} differ" if found else f"{args.recipe} and {args.diff}: the same"
    )
    wide = max(map(len, found), default=0)
    for path, (a, b) in found.items():
        print(f"{path:<{wide}}  {_shown(a)} -> {_shown(b)}")
    return 0


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
