"""The JSON files of released folders, checked key by key. Without torch, because the description of a system imports
it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from talkies.config.plain_json import canonical_json
from talkies.config.quoting import shown
from talkies.streams.layout import Json

LARGEST = 1_000_000
"""Of any size: what is larger is no network."""
MOST_LAYERS = 1000
"""More would take for ever to describe."""


@contextmanager
def reading(file: str) -> Iterator[None]:
    """A ValueError that is raised within begins with the name of the `file`."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def check_fixed(values: Json, fixed: Json) -> None:
    """ValueError names a key of `values` that has another value than in `fixed`."""
    for key, needed in fixed.items():
        if key in values and values[key] != needed:
            raise ValueError(f"`{key}` is {shown(values[key])}, and must be {canonical_json(needed)}")


def whole(key: str, values: Json, most: int = LARGEST) -> int:
    """A whole number above 0. ValueError names the key."""
    value = _there(key, values)
    if type(value) is not int or not 0 < value <= most:
        raise ValueError(f"`{key}` is {shown(value)}, which is no size")
    return value


def number(key: str, values: Json) -> float:
    """A number above 0. ValueError names the key."""
    value = _there(key, values)
    if type(value) not in (int, float) or not 0 < value <= LARGEST:
        raise ValueError(f"`{key}` is {shown(value)}, and must be a number above 0")
    return float(value)


def _there(key: str, values: Json) -> Any:
    if key not in values:
        raise ValueError(f"`{key}` is missing")
    return values[key]


def check_parts(index: Json, needed: Mapping[str, Any]) -> None:
    """ValueError names a part of a model_index.json, [library, class], that has another class than in `needed`. Of
    schedules and tokenizers several classes do, and what they hold is checked."""
    for name, given in needed.items():
        found = None if name in ("scheduler", "tokenizer") else index.get(name)
        if isinstance(given, list) and found not in (None, [None, None]) and not _same_class(found, given):
            raise ValueError(f"`{name}` must be of the class {given[-1]}, got {_named(found)}")


def _named(found: Any) -> str:
    """An entry of model_index.json, as messages say it."""
    return shown(found[-1]) if isinstance(found, list) and found else shown(found)


def _same_class(found: Any, needed: list[Any]) -> bool:
    """Whether an entry of model_index.json names the class that is needed."""
    return isinstance(found, list) and bool(found) and found[-1] == needed[-1]
