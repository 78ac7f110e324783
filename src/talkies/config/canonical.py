"""One canonical form of a recipe: what it is compared, hashed and recorded by."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from talkies.config.schema import ADDED

ABSENT = "(absent)"
BESIDE = ("parallel", "compute", "slurm", "survival")
"""Sections of a phase that say how it is run, and not what it is."""
NOT_HASHED = (("tracking",), *((name,) for name in BESIDE), ("data", "root"), ("data", "workers"))


def to_dict(recipe: Any) -> Any:
    """A recipe (or any part of one) as plain JSON values: mappings in the order of the fields, tuples as lists."""
    if is_dataclass(recipe) and not isinstance(recipe, type):
        return {field.name: to_dict(getattr(recipe, field.name)) for field in fields(recipe)}
    if isinstance(recipe, Mapping):
        return {key: to_dict(value) for key, value in recipe.items()}
    return [to_dict(value) for value in recipe] if isinstance(recipe, tuple | list) else recipe


def hashed(recipe: Any) -> Any:
    """As `to_dict`, without the keys that were added later and stand at their default."""
    if is_dataclass(recipe) and not isinstance(recipe, type):
        values = {field: getattr(recipe, field.name) for field in fields(recipe)}
        return {f.name: hashed(v) for f, v in values.items() if not (f.metadata.get(ADDED) and v == f.default)}
    if isinstance(recipe, Mapping):
        return {key: hashed(value) for key, value in recipe.items()}
    return [hashed(value) for value in recipe] if isinstance(recipe, tuple | list) else recipe


def recipe_hash(recipe: Any) -> str:
    """sha256 of what decides a run's mathematics and data: all keys, defaults too, but those in NOT_HASHED (where
    the results are tracked, on how many processes and how the blocks are computed, what a cluster is asked for, what
    a run does when something goes wrong, where the data lies and who reads it)."""
    text = json.dumps(decisive(recipe), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def decisive(recipe: Any) -> Any:
    """The values that `recipe_hash` is of."""
    values = hashed(recipe)
    for path in NOT_HASHED:
        holder = values
        for name in path[:-1]:
            holder = holder.get(name, {})
        holder.pop(path[-1], None)
    return values


def flat(recipe: Any) -> dict[str, Any]:
    """Key path -> value of every leaf of a recipe; a list of plain values is one leaf."""
    return dict(_flat(to_dict(recipe), ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    nested = isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value)
    if not (nested or (isinstance(value, dict) and value)):
        yield path, value
        return
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _flat(child, f"{path}.{key}" if path else str(key))


def difference(a: Any, b: Any) -> dict[str, tuple[Any, Any]]:
    """Key path -> (value in `a`, value in `b`) wherever two recipes differ; ABSENT where one lacks the key."""
    left, right = flat(a), flat(b)
    keys = [*left, *(key for key in right if key not in left)]
    pairs = {key: (left.get(key, ABSENT), right.get(key, ABSENT)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
