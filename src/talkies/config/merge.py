"""OmegaConf's merge and interpolation for plain values, without any resolver."""

import re
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from talkies.config.errors import RecipeError
from talkies.config.quoting import listed, named, shown

MISSING = "???"
_INTERPOLATION = re.compile(r"\$\{\.*[A-Za-z_][\w-]*(?:\.[\w-]+)*\}")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every (key path, value) below `value`, including mappings and lists, parents before children."""
    items: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        items = [(str(key), child) for key, child in value.items()]
    elif isinstance(value, list):
        items = [(str(index), child) for index, child in enumerate(value)]
    for key, child in items:
        here = f"{path}.{key}" if path else key
        yield here, child
        yield from leaves(child, here)


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`overlay` over `base`: mappings merge; lists, scalars and mappings of another `kind` replace."""
    for path, text in leaves(overlay):
        _check_text(path, text)
    if not base:
        return dict(overlay)
    merged = OmegaConf.merge(_remaining(base, overlay), dict(overlay))
    container = OmegaConf.to_container(merged, resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _remaining(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`base` without the keys that `overlay` replaces rather than merges."""
    remaining = dict(base)
    for key in base.keys() & overlay.keys():
        old, new = base[key], overlay[key]
        if (
            isinstance(old, Mapping)
            and isinstance(new, Mapping)
            and new.get("kind", old.get("kind")) == old.get("kind")
        ):
            remaining[key] = _remaining(old, new)
        else:
            del remaining[key]
    return remaining


def override(values: dict[str, Any], origins: dict[str, str], key: str, value: Any) -> dict[str, Any]:
    """`values` with `value` at key path `key`; records 'override' in `origins`. A number in the path indexes a list."""
    for path, text in leaves(value, key):
        _check_text(path, text)
    _check_text(key, value)
    changed: dict[str, Any] = _assign(values, [], key.split("."), value, origins)
    origins[key] = "override"
    for above in accumulate(key.split(".")[:-1], "{}.{}".format):
        origins.setdefault(above, "override")
    origins.update((path, "override") for path, _ in leaves(value, key))
    return changed


def _assign(target: Any, above: list[str], names: list[str], value: Any, origins: Mapping[str, str]) -> Any:
    """`target`, whose path is `above`, with `value` at `names` below it."""
    if not names:
        return merge({"": target}, {"": value})[""]
    name, rest = names[0], names[1:]
    if target is None or isinstance(target, Mapping):
        below = dict(target or {})
        return {**below, name: _assign(below.get(name), [*above, name], rest, value, origins)}
    here = ".".join(above)
    key = named(".".join([*above, *names]))
    holder = f"recipe: override `{key}`: `{named(here)}` ({origins.get(here, 'override')})"
    if not isinstance(target, list):
        raise RecipeError(f"{holder} is {shown(target)}, which holds no keys")
    if not name.isdecimal() or int(name) >= len(target):
        raise RecipeError(f"{holder} is a list of {len(target)}; write the index of an entry, from 0")
    entry = _assign(target[int(name)], [*above, name], rest, value, origins)
    return [*target[: int(name)], entry, *target[int(name) + 1 :]]


def _check_text(path: str, text: Any) -> None:
    if isinstance(text, str) and "${" in _INTERPOLATION.sub("", text):
        raise RecipeError(f"recipe: `{named(path)}`: only ${{key.path}} is allowed, no resolver such as oc.env")


def resolve(values: dict[str, Any], origins: Mapping[str, str]) -> dict[str, Any]:
    """`values` with every `${key.path}` replaced. Raises RecipeError if one has no target, or if a ??? is left."""
    open_keys = [path for path, value in leaves(values) if value == MISSING]
    if open_keys:
        more = f" (and {listed(open_keys[1:], '`')})" if open_keys[1:] else ""
        place = origins.get(open_keys[0], "override")
        raise RecipeError(
            f"recipe: missing key `{named(open_keys[0])}`{more}: {place} leaves it open with ???; write it"
        )
    if not any(isinstance(value, str) and "${" in value for _, value in leaves(values)):
        return values
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(values), resolve=True)
    except (OmegaConfBaseException, RecursionError) as error:
        raise RecipeError(_interpolation_error(error, values, origins)) from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _interpolation_error(error: Exception, values: dict[str, Any], origins: Mapping[str, str]) -> str:
    path = getattr(error, "full_key", None) or ""
    text = dict(leaves(values)).get(path, "an interpolation")
    why = (
        "leads to no key that the recipe sets"
        if isinstance(error, InterpolationKeyError)
        else "is circular or has no value"
    )
    return f"recipe: `{named(path)}` is {shown(text)} ({origins.get(path, 'override')}), which {why}"
