"""The defaults of every config that a recipe may contain; `defaults_N.json` stores those of schema N."""

import json
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from talkies.config.canonical import to_dict
from talkies.config.migrations import NEWEST
from talkies.config.schema import ABSENT
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import recipe_union

FILE = Path(__file__).parent / f"defaults_{NEWEST}.json"
REQUIRED = "(required)"


def defaults() -> dict[str, dict[str, Any]]:
    """Class -> key -> default, or REQUIRED."""
    found: dict[str, dict[str, Any]] = {}
    _collect(recipe_union(SYSTEMS), found)
    return dict(sorted(found.items()))


def _collect(target: Any, found: dict[str, dict[str, Any]]) -> None:
    for part in get_args(target):
        _collect(part, found)
    if is_dataclass(target) and isinstance(target, type) and target.__name__ not in found:
        keys = {field.name: to_dict(_default(field)) for field in fields(target)}
        found[target.__name__] = json.loads(json.dumps(keys))
        for part in get_type_hints(target, include_extras=True).values():
            _collect(part, found)


def _default(field: Field[Any]) -> Any:
    """Of a mapping made `by_name`, what a name that it lacks stands for."""
    if ABSENT in field.metadata:
        return {"(absent)": field.metadata[ABSENT]}
    return REQUIRED if field.default is MISSING else field.default


if __name__ == "__main__":
    FILE.write_text(json.dumps(defaults(), indent=1) + "\n")
