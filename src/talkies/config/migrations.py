"""Recipes of older schemas, as runs and releases have recorded them, in the form of the newest one.

A recorded recipe says of which schema it is; one that says nothing is of the first. A schema is a form of recipes:
their keys, what these mean, and their defaults. Whoever renames a key or changes a default adds a migration at the end
of MIGRATIONS, a pure function of the recorded values: it renames the key, or writes the old default where the key is
absent. A new key whose default is what was done before needs none.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

from talkies.config.errors import RecipeError
from talkies.config.plain_json import canonical_json
from talkies.config.shown import shown

Values = dict[str, Any]
Migration = Callable[[Values], Values]
SCHEMA = "schema"
"""The key with the number."""
FIRST = 1


def from_1(values: Values) -> Values:
    """Schema 2 has the keys and defaults of schema 1: only what is hashed is another (see `hash_of`)."""
    return values


MIGRATIONS: tuple[Migration, ...] = (from_1,)
"""The n-th leads from schema n to n + 1."""
NEWEST = FIRST + len(MIGRATIONS)


def migrated(values: Mapping[str, Any], migrations: tuple[Migration, ...] = MIGRATIONS) -> Values:
    """The recorded `values` of a recipe, of whichever schema, in the newest form and without the schema's number; they
    stay as they are. RecipeError where they are of a schema that is not known."""
    found, newest = deepcopy(dict(values)), FIRST + len(migrations)
    schema = found.pop(SCHEMA, FIRST)
    if type(schema) is not int or not FIRST <= schema <= newest:
        raise RecipeError(f"recipe: `{SCHEMA}` is {shown(schema)}; this version reads {FIRST} to {newest}")
    for migration in migrations[schema - FIRST :]:
        found = migration(found)
    return found


def hash_of(values: Mapping[str, Any], left_out: Iterable[tuple[str, ...]] = ()) -> str:
    """sha256 of plain values, but those at the paths `left_out`. Schema 1 hashed all keys of a recipe, at their
    defaults too: what a run has recorded, or `canonical.identifying` of a recipe."""
    return hashlib.sha256(canonical_json(without_paths(deepcopy(dict(values)), left_out)).encode()).hexdigest()


def without_paths(values: Values, paths: Iterable[tuple[str, ...]]) -> Values:
    """`values` without what stands at `paths`, where anything does; changes and returns its argument."""
    for path in paths:
        holder = values
        for name in path[:-1]:
            holder = holder.get(name, {})
        holder.pop(path[-1], None)
    return values
