"""talkies show RECIPE: the resolved recipe with the origin of each value, the JSON Schema, or the difference of two.

A curriculum is shown with its members: itself, then its preparation and every phase under their names.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkies.config.quoting import one_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("recipe", nargs="?", type=Path, help="any recipe: a phase, a preparation or a curriculum")
    parser.add_argument(
        "overrides", nargs="*", help="key.path=value; in a curriculum PHASE.key..., phases.key... or prepare.key..."
    )
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of recipe files, for editors")
    parser.add_argument("--diff", type=Path, metavar="OTHER", help="print the values that differ from OTHER")
    parser.add_argument("--json", action="store_true", help="print JSON: hash, values and origins")


@dataclass(frozen=True, kw_only=True)
class View:
    """A decoded recipe to show. `name`: '' for the file that was given, else that of a curriculum's member."""

    name: str
    file: Path
    hash: str
    recipe: Any
    origins: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Hash, values and origins."""
        from talkies.config.canonical import to_dict

        return {"hash": self.hash, "values": to_dict(self.recipe), "origins": dict(self.origins)}


def run(args: argparse.Namespace) -> int:
    """Print one view of a recipe."""
    from talkies.config import RecipeError

    if args.schema:
        if args.recipe is not None or args.diff is not None:
            raise RecipeError("show: --schema describes every recipe; drop the other arguments")
        return _schema()
    if args.recipe is None:
        raise RecipeError("show: give a RECIPE, or --schema")
    views = load_views(args.recipe, args.overrides)
    if args.diff is not None:
        return _difference(args, views, load_views(args.diff))
    if args.json:
        return _json(views)
    for view in views:
        file = one_line(str(view.file))
        head = f"# {file}" if not view.name else f"\n# {view.name}: {file}"
        print(f"{head}  hash {view.hash[:12]}")
        print("\n".join(resolved_lines(view.recipe, view.origins)))
    return 0


def load_views(path: Path, overrides: Sequence[str] = ()) -> list[View]:
    """The recipe at `path`; a curriculum is followed by its members."""
    from talkies.config.canonical import recipe_hash
    from talkies.config.source import load, unresolved
    from talkies.models.systems import SYSTEMS
    from talkies.recipe.config import decode_recipe, kind_of

    if kind_of(unresolved(path)) == "curriculum":
        return _curriculum(path, overrides)
    source = load(path, overrides)
    recipe = decode_recipe(source, SYSTEMS)
    return [View(name="", file=path, hash=recipe_hash(recipe), recipe=recipe, origins=source.origins)]


def _curriculum(path: Path, overrides: Sequence[str]) -> list[View]:
    from talkies.config.canonical import recipe_hash
    from talkies.config.source import displayed
    from talkies.models.systems import SYSTEMS
    from talkies.recipe.curriculum import load_curriculum

    curriculum = load_curriculum(path, overrides, systems=SYSTEMS)
    origins = curriculum.sources[""].origins
    views = [View(name="", file=path, hash=curriculum.digest, recipe=curriculum.recipe, origins=origins)]
    for name, recipe in {"prepare": curriculum.prepare, **{phase.name: phase for phase in curriculum.phases}}.items():
        source = curriculum.sources[name]
        file = Path(displayed(source.file))
        views.append(View(name=name, file=file, hash=recipe_hash(recipe), recipe=recipe, origins=source.origins))
    return views


def _schema() -> int:
    from talkies.config.schema_json import json_schema
    from talkies.models.systems import SYSTEMS
    from talkies.recipe.config import recipe_union

    print(json.dumps(json_schema(recipe_union(SYSTEMS)), indent=2))
    return 0


def _json(views: Sequence[View]) -> int:
    shown, *members = (view.to_json() for view in views)
    if members:
        shown["members"] = {view.name: member for view, member in zip(views[1:], members, strict=True)}
    print(json.dumps(shown, indent=2))
    return 0


def resolved_lines(recipe: Any, origins: Mapping[str, str]) -> list[str]:
    """One line per leaf: key path, value, and the file and line, `override` or `default` that set it."""
    from talkies.config.canonical import flat

    rows = [(path, _shown(value), origins.get(path, "default")) for path, value in flat(recipe).items()]
    wide, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    values = min(values, 48)
    return [f"{path:<{wide}}  {value:<{values}}  {origin}" for path, value, origin in rows]


def _flat(views: Sequence[View]) -> dict[str, Any]:
    """Key path -> value of every leaf; the keys of a member are prefixed with its name, as in an override."""
    from talkies.config.canonical import flat

    first, *members = views
    leaves = flat(first.recipe)
    for view in members:
        leaves |= {f"{view.name}.{path}": value for path, value in flat(view.recipe).items()}
    return leaves


def _difference(args: argparse.Namespace, views: Sequence[View], others: Sequence[View]) -> int:
    from talkies.config.canonical import difference

    found = difference(_flat(views), _flat(others))
    if args.json:
        print(json.dumps({path: {"recipe": a, "other": b} for path, (a, b) in found.items()}, indent=2))
        return 0
    one, other = one_line(str(args.recipe)), one_line(str(args.diff))
    print(f"# {one} -> {other}: {len(found)} differ" if found else f"{one} and {other}: the same")
    wide = max(map(len, found), default=0)
    for path, (a, b) in found.items():
        print(f"{path:<{wide}}  {_shown(a)} -> {_shown(b)}")
    return 0


def _shown(value: Any) -> str:
    from talkies.streams.clip_size import spelled

    return spelled(value) if isinstance(value, str) else json.dumps(value)
