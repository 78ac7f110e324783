"""For keys that hold a plain value, or one of several configs."""

from collections.abc import Mapping
from typing import Any

from pydantic import Discriminator, Tag


def _tag_of(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return ""
    kind = value.get("kind")
    return None if kind in (None, "") else str(kind)


PLAIN, BY_KIND = Tag(""), Discriminator(_tag_of)
"""For a plain value or a config, which its `kind` must name: `Annotated[Annotated[float, PLAIN] | Annotated[A,
Tag("a")], BY_KIND]`."""
