"""The canonical form of a recipe, by which it is compared, hashed and recorded."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from typing import Any

from talkies.config.migrations import hash_of, without_paths
from talkies.config.schema import ABSENT as ABSENT_NAME
from talkies.config.schema import first_form, identifies

ABSENT = "(absent)"
BESIDE = ("parallel", "compute", "slurm", "survival")
"""Sections of a phase that determine how it runs, but not what it computes."""
NOT_HASHED = (("tracking",), *((name,) for name in BESIDE), ("data", "root"), ("data", "workers"))


def to_dict(recipe: Any) -> Any:
    """A recipe (or any part of one) as plain JSON values: mappings in the order of the fields, tuples as lists."""
    return _plain(recipe, lambda _, __: True, _present)


def identifying(recipe: Any) -> Any:
    """Like `to_dict`, with the first names of keys that were `renamed`, and without keys that were `added` later and
    have their default. Whatever is recorded or hashed by all its values (a codec, a prepared set, a recipe of schema 1)
    stays the same when keys are added or renamed."""
    return _plain(recipe, identifies, first_form)


def first_names(config: Any) -> dict[str, str]:
    """The names of a config's keys in `identifying` -> their present names."""
    return {first_form(field, None)[0]: field.name for field in fields(config)}


def differing(recipe: Any) -> Any:
    """Like `to_dict`, but with only the keys of every config that differ from their defaults, and its `kind`."""
    return _plain(_normal(recipe), _differs, _present)


def _plain(
    recipe: Any, keep: "Callable[[Field[Any], Any], bool]", write: "Callable[[Field[Any], Any], tuple[str, Any]]"
) -> Any:
    if is_dataclass(recipe) and not isinstance(recipe, type):
        values = ((field, getattr(recipe, field.name)) for field in fields(recipe))
        written = (write(field, value) for field, value in values if keep(field, value))
        return {name: _plain(value, keep, write) for name, value in written}
    if isinstance(recipe, Mapping):
        return {key: _plain(value, keep, write) for key, value in recipe.items()}
    return [_plain(value, keep, write) for value in recipe] if isinstance(recipe, tuple | list) else recipe


def _present(field: "Field[Any]", value: Any) -> tuple[str, Any]:
    return field.name, value


def _differs(field: "Field[Any]", value: Any) -> bool:
    return field.name == "kind" or not _default(field, value)


def _normal(recipe: Any) -> Any:
    """The recipe, its mappings made `by_name` without entries that say what a missing name stands for."""
    if isinstance(recipe, Mapping):
        return {key: _normal(value) for key, value in recipe.items()}
    if isinstance(recipe, tuple):
        return tuple(_normal(value) for value in recipe)
    if not is_dataclass(recipe) or isinstance(recipe, type):
        return recipe
    changed = {}
    for field in fields(recipe):
        value = _normal(getattr(recipe, field.name))
        if ABSENT_NAME in field.metadata:
            value = {name: entry for name, entry in value.items() if entry != field.metadata[ABSENT_NAME]}
        changed[field.name] = value
    return replace(recipe, **changed)


def _default(field: "Field[Any]", value: Any) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return default is not MISSING and bool(default == value)


def recipe_hash(recipe: Any) -> str:
    """sha256 of what determines a run's mathematics and data: all keys that differ from their defaults in the newest
    schema (see `migrations`), except those in NOT_HASHED (tracking; number of processes and how blocks compute; the
    cluster's allocation; what a run does when something goes wrong; where the data lies and how many workers read it).
    Adding a key with a default to recipes changes no hash."""
    return hash_of(differing(recipe), NOT_HASHED)


def older_hashes(recipe: Any) -> tuple[str, str]:
    """The hashes of a preparation in schemas 1 and 2, whatever its keys are called today."""
    return hash_of(identifying(recipe)), hash_of(_plain(recipe, _differs, first_form))


def decisive(recipe: Any) -> Any:
    """All values except those in NOT_HASHED."""
    return without_paths(to_dict(recipe), NOT_HASHED)


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
    """Key path -> (value in `a`, value in `b`) where two recipes differ; ABSENT if one lacks the key."""
    left, right = flat(a), flat(b)
    keys = [*left, *(key for key in right if key not in left)]
    pairs = {key: (left.get(key, ABSENT), right.get(key, ABSENT)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
