"""The one decorator that makes a class a piece of a recipe."""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that refuses unknown keys and never coerces types when decoded.

    A class that stands in a union carries `kind: Literal["..."] = "..."`, and the union is annotated with
    `Annotated[A | B, Tagged]`.
    """
    cls.__pydantic_config__ = {"extra": "forbid", "strict": True}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)
