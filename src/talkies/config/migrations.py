"""Migrates recipes of older schemas, as runs and releases have recorded them, to the newest schema.

A recorded recipe names its schema; without a number it has the first. A schema is a form of recipes: their keys, the
meaning of the keys, and their defaults. A change that renames a key or changes a default adds a migration at the end
of MIGRATIONS, a pure function of the recorded values: it renames the key, or writes the old default if the key is
absent. A new key whose default keeps the old behaviour needs no migration.

A migration gets recipes of every kind (`kind` tells which), and those of releases lack the sections that do not decide
what is computed: it must not expect a key. A renamed key of a codec, a source, a set or a preparation needs
`schema.renamed`, too, for what identifies them has the old names for good.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

from talkies.config.errors import RecipeError
from talkies.config.plain_json import canonical_json
from talkies.config.quoting import shown

Values = dict[str, Any]
Migration = Callable[[Values], Values]
SCHEMA = "schema"
"""The key that holds the schema number."""
FIRST = 1


def from_1(values: Values) -> Values:
    """Schema 2 has the keys and defaults of schema 1; it only hashes other keys (see `hash_of`)."""
    return values


MIGRATIONS: tuple[Migration, ...] = (from_1,)
"""The n-th migration leads from schema n to schema n + 1."""
NEWEST = FIRST + len(MIGRATIONS)


def migrated(values: Mapping[str, Any], migrations: tuple[Migration, ...] = MIGRATIONS) -> Values:
    """The recorded `values` of a recipe of any schema, in the newest one and without the schema number; the argument is
    not changed. RecipeError if the schema is unknown."""
    result, newest = deepcopy(dict(values)), FIRST + len(migrations)
    schema = result.pop(SCHEMA, FIRST)
    if type(schema) is not int or not FIRST <= schema <= newest:
        raise RecipeError(f"recipe: `{SCHEMA}` is {shown(schema)}; this version reads {FIRST} to {newest}")
    for number, migration in enumerate(migrations[schema - FIRST :], schema):
        try:
            result = migration(result)
        except (AttributeError, KeyError, TypeError) as error:  # the values may come from a person, or be damaged
            raise RecipeError(f"recipe: it has not the form of schema {number}: {error!r}; correct it") from error
    return result


def hash_of(values: Mapping[str, Any], left_out: Iterable[tuple[str, ...]] = ()) -> str:
    """sha256 of plain values, except those at the paths `left_out`. Schema 1 hashed all keys of a recipe, including
    those at their defaults: what a run has recorded, or `canonical.identifying` of a recipe."""
    return hashlib.sha256(canonical_json(without_paths(deepcopy(dict(values)), left_out)).encode()).hexdigest()


def without_paths(values: Values, paths: Iterable[tuple[str, ...]]) -> Values:
    """Remove whatever `values` has at `paths`; changes and returns its argument."""
    for path in paths:
        holder = values
        for name in path[:-1]:
            holder = holder.get(name, {})
        holder.pop(path[-1], None)
    return values
