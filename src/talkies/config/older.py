"""Recognises keys of an older schema in a recipe that does not state one."""

from collections.abc import Callable, Mapping
from typing import Any

from talkies.config.merge import leaves
from talkies.config.migrations import FIRST, NEWEST, SCHEMA, migrated
from talkies.config.quoting import listed, named

OLDER = range(NEWEST - 1, FIRST - 1, -1)


def hint_of(
    path: str, values: Mapping[str, Any], fits: Callable[[Mapping[str, Any]], bool], *, overridden: bool
) -> str:
    """What to do about the key `path`, which the newest schema refuses, if an older one has it: state that schema (if
    then the recipe `fits`; an override cannot state it), or write the keys of today. Empty if no older schema has
    it."""
    for schema in () if overridden else OLDER:
        if fits(whole := migrated({**values, SCHEMA: schema})):
            return f" It is of schema {schema}: state `{SCHEMA}: {schema}`, or use {_now(values, whole)}."
    for schema in OLDER:
        alone = _alone(values, path.split("."))
        if now := _now(alone, migrated({**alone, SCHEMA: schema})):
            return f" It is of schema {schema}: now it is {now}."
    return ""


def _alone(values: Any, names: list[str]) -> dict[str, Any]:
    """`values` with nothing but what lies at the path `names`."""
    name, *rest = names
    below = values.get(name) if isinstance(values, Mapping) else None
    return {name: _alone(below, rest) if rest else below}


def _now(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The keys that only the migrated values have; a `kind` only if it chooses something else than before."""
    before = dict(leaves(then))
    after = {path: value for path, value in leaves(now) if not isinstance(value, Mapping) and path not in before}
    shorter = {path: value for path, value in after.items() if not (path.endswith(".kind") and value == "shifted")}
    return listed([f"{named(path)}" for path in shorter], "`")
