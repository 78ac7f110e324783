"""Migrates recipes of older schemas, as runs and releases have recorded them, to the newest schema.

A recorded recipe names its schema; without a number it has the first. A schema is a form of recipes: their keys, the
meaning of the keys, and their defaults. A change that renames a key or changes a default adds a migration at the end
of MIGRATIONS, a pure function of the recorded values: it renames the key, or writes the old default if the key is
absent. A new key whose default keeps the old behaviour needs no migration.
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
"""The key that holds the schema number."""
FIRST = 1


def from_1(values: Values) -> Values:
    """Schema 2 has the keys and defaults of schema 1; it only hashes other keys (see `hash_of`)."""
    return values


def from_2(values: Values) -> Values:
    """Schema 3 names streams and conditions in mappings; an adapter is chosen by `train.kind`, not by `phase.kind`."""
    if "phase" in values and values["phase"]["kind"] == "lora":
        adapter = {
            key: value for key, value in values["phase"].items() if key in ("rank", "alpha", "dropout", "targets")
        }
        rest = {key: value for key, value in values["phase"].items() if key not in (*adapter, "kind")}
        values = {**values, "phase": {"kind": "joint", **rest}, "train": {"kind": "lora", **adapter}}
    if "phase" in values:
        values = {**values, "phase": {key: value for key, value in values["phase"].items() if key != "experts"}}
    if "parents" in values:
        parents = values["parents"]
        values = {**values, "parents": {key: spec for key, spec in parents.items() if spec is not None}}
    if "flow" in values:
        values = {**values, "flow": _flow_from_2(values["flow"])}
    if "sampling" in values:
        values = {**values, "sampling": _sampling_from_2(values["sampling"])}
    return values


def _flow_from_2(flow: Values) -> Values:
    shifts = {name: flow[name]["shift"] for name in ("video", "audio") if "shift" in flow.get(name, {})}
    found: Values = {"schedule": {"kind": "shifted", "shifts": shifts}} if shifts else {}
    return found | ({"shared": flow["times"] == "shared"} if "times" in flow else {})


def _sampling_from_2(sampling: Values) -> Values:
    shifts = {name: sampling[f"{name}_shift"] for name in ("video", "audio") if f"{name}_shift" in sampling}
    scales = {name: sampling[f"{name}_scale"] for name in ("text", "bridge") if f"{name}_scale" in sampling}
    found: Values = {"steps": sampling["steps"]} if "steps" in sampling else {}
    found |= {"schedule": {"kind": "shifted", "shifts": shifts}} if shifts else {}
    return found | ({"scales": scales} if scales else {})


MIGRATIONS: tuple[Migration, ...] = (from_1, from_2)
"""The n-th migration leads from schema n to schema n + 1."""
NEWEST = FIRST + len(MIGRATIONS)


def migrated(values: Mapping[str, Any], migrations: tuple[Migration, ...] = MIGRATIONS) -> Values:
    """The recorded `values` of a recipe of any schema, in the newest one and without the schema number; the argument is
    not changed. RecipeError if the schema is unknown."""
    result, newest = deepcopy(dict(values)), FIRST + len(migrations)
    schema = result.pop(SCHEMA, FIRST)
    if type(schema) is not int or not FIRST <= schema <= newest:
        raise RecipeError(f"recipe: `{SCHEMA}` is {shown(schema)}; this version reads {FIRST} to {newest}")
    for migration in migrations[schema - FIRST :]:
        result = migration(result)
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
