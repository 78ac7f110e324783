"""The decorator that makes a class a part of a recipe, and how its keys are written where they identify something."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")
ABSENT = "absent"
"""Metadata key of a field made by `by_name`: what a name that it lacks stands for."""
_NAME, _VALUES, _DEFAULT = "first_name", "first_values", "first_default"
"""Metadata keys: the first name of a field, its first values by the present ones, the default at which it is absent."""


def added(default: Any, *, was: str | None = None, at_first: Any = MISSING) -> Any:
    """A key that codecs, sources and sets did not have at first. At its `default` it is excluded from their identity,
    so that older ones keep theirs. (A recipe's hash excludes every default.) `was`: the name that it was added by;
    `at_first`: the default that it was added with, if another."""
    return field(default=default, metadata={_NAME: was, _DEFAULT: default if at_first is MISSING else at_first})


def by_name(default: Any) -> Any:
    """A mapping from names (of streams, conditions, ...) to values, in which a missing name stands for `default`. A
    recipe's hash excludes the entries that equal it."""
    return field(default_factory=dict, metadata={ABSENT: default})


def renamed(was: str | None = None, *, default: Any = MISSING, values: Mapping[Any, Any] | None = None) -> Any:
    """A key that was called `was` at first, or whose `values` (new -> old) were. What it identifies keeps its identity,
    which has the old names for good; recorded recipes need a migration, too."""
    return field(default=default, metadata={_NAME: was, _VALUES: values})


def first_form(key: "Field[Any]", value: Any) -> tuple[str, Any]:
    """The name and the value of a key as they were first recorded."""
    values = key.metadata.get(_VALUES)
    return key.metadata.get(_NAME) or key.name, values.get(value, value) if values else value


def identifies(key: "Field[Any]", value: Any) -> bool:
    """Whether a key with this value is part of an identity."""
    return _DEFAULT not in key.metadata or bool(value != key.metadata[_DEFAULT])


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, added, by_name, renamed))
def config(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that refuses unknown keys and never coerces types when decoded.

    A class in a union has `kind: Literal["..."] = "..."`, and the union is
    `Annotated[A | B, Field(discriminator="kind")]`.
    """
    cls.__pydantic_config__ = {"extra": "forbid", "strict": True}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)
