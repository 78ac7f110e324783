"""The one decorator that makes a class a piece of a recipe."""

from dataclasses import dataclass, field
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")
ADDED = "added"
"""Metadata of such a field."""


def added(default: Any) -> Any:
    """A key that codecs, sources and sets did not have at first: at its `default` it is left out of what identifies
    them, so that what was made without it is still the same. (A recipe's hash leaves out every default.)"""
    return field(default=default, metadata={ADDED: True})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, added))
def config(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that refuses unknown keys and never coerces types when decoded.

    A class that stands in a union carries `kind: Literal["..."] = "..."`, and the union is annotated with
    `Annotated[A | B, Tagged]`.
    """
    cls.__pydantic_config__ = {"extra": "forbid", "strict": True}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)
