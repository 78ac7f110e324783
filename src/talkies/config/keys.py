"""The keys and kinds of a recipe type: its dataclasses and tagged unions."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

KEY = "[key]"
"""The end of pydantic's location of an error in the name of a mapping's entry."""


def bare(kind: Any) -> Any:
    """`kind` without Annotated and without `| None`."""
    if get_origin(kind) is Annotated:
        return bare(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        members = [member for member in get_args(kind) if member is not type(None)]
        if len(members) == 1:
            return bare(members[0])
    return kind


def variants(kind: Any) -> dict[str, Any]:
    """Tag -> class of a union of tagged dataclasses; empty for every other type."""
    kind = bare(kind)
    if get_origin(kind) not in (Union, types.UnionType):
        return {}
    members = [member for member in map(bare, get_args(kind)) if "kind" in hints(member)]
    return {get_args(hints(member)["kind"])[0]: member for member in members}


@cache
def hints(kind: Any) -> dict[str, Any]:
    """Key -> type of a dataclass; empty for every other type."""
    kind = bare(kind)
    return get_type_hints(kind, include_extras=True) if is_dataclass(kind) else {}


def chosen(kind: Any, value: Any) -> Any:
    """If `kind` is a tagged union, the class that the `kind` key of `value` picks; else `kind`."""
    tag = value.get("kind") if isinstance(value, Mapping) else None
    return variants(kind).get(tag, kind) if isinstance(tag, str) else kind


def child(kind: Any, name: str) -> Any:
    """The type under `name` (a key or an index) in a value of type `kind`; None if there is no such key."""
    kind = bare(kind)
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        return arguments[1]
    if get_origin(kind) is tuple:
        variadic = arguments[-1] is Ellipsis
        return arguments[0] if variadic else {str(index): entry for index, entry in enumerate(arguments)}.get(name)
    return hints(kind).get(name)


def known_paths(kind: Any, value: Any, above: str = "") -> Iterator[str]:
    """Every key path that a recipe of type `kind` may hold, given the kinds that `value` picks."""
    picked = chosen(bare(kind), value)
    names = list(hints(picked)) or [name for name, _ in _entries(value) if child(picked, name) is not None]
    for name in names:
        path = f"{above}.{name}" if above else name
        yield path
        yield from known_paths(child(picked, name), dict(_entries(value)).get(name), path)


def _entries(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(str(key), entry) for key, entry in value.items()]
    return [(str(index), entry) for index, entry in enumerate(value)] if isinstance(value, list) else []


def _entry(value: Any, name: str) -> Any:
    """The entry under `name` (a key or an index) in a value; None if there is none."""
    if isinstance(value, Mapping):
        return value.get(name)
    known = isinstance(value, list) and name.isdigit() and int(name) < len(value)
    return value[int(name)] if known else None


def mixed(kind: Any) -> bool:
    """Whether `kind` is a union without tags, such as Literal | int."""
    return get_origin(bare(kind)) in (Union, types.UnionType) and not variants(kind)


def choices(kind: Any) -> tuple[Any, ...]:
    """The values of a Literal; empty for every other type."""
    kind = bare(kind)
    return get_args(kind) if get_origin(kind) is Literal else ()


def path_of(kind: Any, value: Any, loc: tuple[str | int, ...]) -> tuple[list[str], Any]:
    """pydantic's error location (which includes the kind of each union on the way) -> key path and type there; for a
    location that ends with KEY, the path of that entry and the type of the mapping's keys."""
    path: list[str] = []
    rest = [str(part) for part in loc]
    while True:
        picked = chosen(kind, value)
        if variants(kind) and not isinstance(value, Mapping):  # pydantic names the member for plain values
            return path, kind
        if variants(kind) and picked is not kind:
            if not rest:
                return path, kind
            rest = rest[1:]
        if not rest or mixed(picked):  # pydantic names each member of such a union
            return path, picked
        path.append(rest[0])
        if rest[1:] == [KEY] and get_origin(bare(picked)) is dict:
            return path, get_args(bare(picked))[0]
        kind, value, rest = child(picked, rest[0]), _entry(value, rest[0]), rest[1:]
        if kind is None:
            return [*path, *rest], None
