"""The decorator that makes a class a part of a recipe."""

from dataclasses import dataclass, field
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")
ADDED = "added"
"""Metadata key of a field that was `added`."""
ABSENT = "absent"
"""Metadata key of a field made by `by_name`: what a name that it lacks stands for."""


def added(default: Any) -> Any:
    """A key that codecs, sources and sets did not have at first. At its `default` it is excluded from their identity,
    so that older ones keep theirs. (A recipe's hash excludes every default.)"""
    return field(default=default, metadata={ADDED: True})


def by_name(default: Any) -> Any:
    """A mapping from names (of streams, conditions, ...) to values, in which a missing name stands for `default`. A
    recipe's hash excludes the entries that equal it."""
    return field(default_factory=dict, metadata={ABSENT: default})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, added, by_name))
def config(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that refuses unknown keys and never coerces types when decoded.

    A class in a union has `kind: Literal["..."] = "..."`, and the union is
    `Annotated[A | B, Field(discriminator="kind")]`.
    """
    cls.__pydantic_config__ = {"extra": "forbid", "strict": True}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)
