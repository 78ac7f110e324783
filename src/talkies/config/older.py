"""Recognises keys of an older schema in a recipe that does not state one."""

from collections.abc import Callable, Mapping
from typing import Any

from talkies.config.migrations import FIRST, MOVED, NEWEST, SCHEMA, migrated

Fits = Callable[[Mapping[str, Any]], bool]


def hint_of(path: str, value: Any, values: Mapping[str, Any], fits: Fits | None) -> str:
    """What to do about the key `path` of `values`, or about its `value`, which the newest schema refuses, if an older
    one has it; empty if none does. To state that schema is only proposed if the recipe then `fits`; None: it cannot be
    stated there."""
    for schema in range(NEWEST - 1, FIRST - 1, -1):
        moved = MOVED.get(schema + 1, {})
        found = [now for key, now in moved.items() if key in (path, f"{path}={value}") or _below(key, path)]
        if not found:
            continue
        instead = [now for now in found if now is not None]
        todo = f"write {' and '.join(instead)} instead" if instead else "no key replaces it, so remove it"
        if fits is not None and fits(migrated({**values, SCHEMA: schema})):
            todo += f", or state `{SCHEMA}: {schema}`"
        return f" It is of schema {schema}: {todo}."
    return ""


def _below(key: str, path: str) -> bool:
    """Whether `key` lies below `path`, which is not a whole section of a recipe."""
    return "." in path and key.startswith(f"{path}.")
