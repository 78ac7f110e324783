"""The reader of all JSON records that talkies writes: regular files of a bounded size, decoded strictly.

A `Kind` defines the content of a kind of record, and what to do if one is damaged. Unknown keys are ignored, because
another version may have written them; every known key is checked.
"""

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, dataclass_transform

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from talkies.config.decode import needed
from talkies.config.errors import DataError, UserError
from talkies.config.numbers import LIMIT
from talkies.config.plain_json import DEEP, plain_json
from talkies.config.quoting import named, shown
from talkies.config.regular_files import open_ours, open_regular, present, regular_bytes

__all__ = [
    "Integer",
    "Kind",
    "Name",
    "Reading",
    "Sha256",
    "open_ours",
    "open_regular",
    "present",
    "record",
    "regular_bytes",
]

T = TypeVar("T")
Migration = Callable[[dict[str, Any]], dict[str, Any]]
SIZE = 16 << 20
"""The most bytes of a record, unless its kind says otherwise."""
_WORDS = {
    "finite_number": "a finite number",
    "string_too_short": "text that is not empty",
    "string_pattern_mismatch": "of the form {pattern}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("text without a NUL character")
    return text


Name = Annotated[str, Field(min_length=1), AfterValidator(_no_nul)]
"""Text that is not empty: a name, a path, a URI."""


def _reading(value: Any) -> float:
    if value not in ("nan", "inf", "-inf") and type(value) not in (int, float):
        raise ValueError("a number, or one of nan, inf, -inf")
    return float(value)


Reading = Annotated[Any, AfterValidator(_reading)]
"""A measured number. One that is not finite is stored as text, because JSON has no such numbers."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Integer = Annotated[int, Field(ge=-LIMIT, lt=LIMIT)]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that is decoded without any coercion and ignores unknown keys.

    The text of a ValueError from its `__post_init__` completes "FILE is damaged: ...".
    """
    cls.__pydantic_config__ = {"extra": "ignore", "strict": True, "allow_inf_nan": False}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True, slots=True)(cls)  # slots, because an index has 200,000 of them


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[T]):
    """A kind of record. `holds`: the type of its content; `about`: the first word of messages; `remedy`: what to do if
    one is damaged; `limit`: the most bytes of a record. `migrations`: pure functions of a record's values, each from
    one schema to the next; a record without `schema` has the `first`."""

    holds: type[T]
    about: str
    remedy: str
    error: type[UserError] = DataError
    limit: int = SIZE
    first: int = 1
    migrations: tuple[Migration, ...] = ()

    @property
    def newest(self) -> int:
        """The schema of new records."""
        return self.first + len(self.migrations)

    def read(self, path: Path) -> T:
        """The record in the file `path`. Raises `error` if it is missing, not a regular file, too large or damaged."""
        return self._decoded(self.content(path), str(path))

    def find(self, path: Path) -> T | None:
        """Like `read`, but None if there is nothing at `path`."""
        return self.read(path) if present(path) else None

    def read_with(self, path: Path) -> tuple[T, bytes]:
        """Like `read`, but also returns the bytes of the file."""
        data = self.content(path)
        return self._decoded(data, str(path)), data

    def read_values(self, path: Path) -> dict[str, Any]:
        """All values of a record that `read` accepts, in the newest schema, including unknown keys."""
        data = self.content(path)
        self._decoded(data, str(path))
        values: dict[str, Any] = json.loads(self._newest(plain_json(data), str(path)))
        return values

    def decode(self, data: bytes, where: str) -> T:
        """The record in `data`; messages name it `where`."""
        if len(data) > self.limit:
            raise self.damaged(where, f"it has {len(data)} bytes, and at most {self.limit} are read")
        return self._decoded(data, where)

    def damaged(self, where: object, how: str) -> UserError:
        """The error for the damaged record `where`; `how` is the damage."""
        return self.error(f"{self.about}: {where} is damaged: {how}; {self.remedy}")

    def content(self, path: Path) -> bytes:
        """The bytes of the file `path`, not decoded; errors as in `read`."""
        try:
            return regular_bytes(path, self.limit)
        except OSError as error:
            raise self.error(f"{self.about}: cannot read {path}: {error.strerror}; {self.remedy}") from None

    def _decoded(self, data: bytes, where: str) -> T:
        try:
            holds: Any = self.holds
            with _uncollected():
                decoded: T = _adapter(holds).validate_json(self._newest(plain_json(data), where), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if first["loc"] == ("schema",) and type(first["input"]) is int:
                raise self._of_another(where, first["input"]) from None
            raise self.damaged(where, _complaint(first)) from None
        except ValueError as error:
            raise self.damaged(where, str(error)) from None
        return decoded

    def _newest(self, text: str, where: str) -> str:
        """The text of the record in the newest schema."""
        values = json.loads(text) if self.migrations else None
        schema = values.get("schema", self.first) if isinstance(values, dict) else None
        if values is None or type(schema) is not int or schema == self.newest:
            return text  # is current, or refused by the decoder
        if not self.first <= schema < self.newest:
            raise self._of_another(where, schema)
        try:
            for migration in self.migrations[schema - self.first :]:
                values = migration(values)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"it is no record of `schema` {schema} ({type(error).__name__}: {shown(str(error))})"
            ) from None
        return json.dumps({**values, "schema": self.newest})

    def _of_another(self, where: str, schema: object) -> UserError:
        known = f"{self.first} to {self.newest}" if self.migrations else str(self.newest)
        return self.error(
            f"{self.about}: {where} has schema {shown(schema)}, this version reads {known}: use the talkies that wrote "
            f"it; or {self.remedy}"
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which would scan the parts of a large record again and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@cache
def _adapter(target: Any) -> TypeAdapter[Any]:
    return TypeAdapter(target)


def _complaint(detail: ErrorDetails) -> str:
    """pydantic's first error, as the text after "is damaged: "."""
    kind, value, path = detail["type"], detail["input"], ".".join(named(part) for part in detail["loc"])
    if kind == "json_invalid":
        deep = "recursion" in detail["msg"]
        return DEEP if deep else f"it holds no JSON object: {detail['msg']}"
    if kind == "missing":
        return f"it has no `{path}`"
    if kind == "value_error" and isinstance(value, dict):  # from __post_init__, with a complete message
        return f"in `{path}` {_said(detail)}" if path else _said(detail)
    if kind in _WORDS:
        wanted = _WORDS[kind].format(**detail.get("ctx", {}))
    else:
        wanted = _said(detail) if kind == "value_error" else needed(detail)
    if not path:
        return f"it holds {'no JSON object but ' * (kind == 'dataclass_type')}{shown(value)}, and must be {wanted}"
    return f"its `{path}` is {shown(value)}, and must be {wanted}"


def _said(detail: ErrorDetails) -> str:
    return detail["msg"].removeprefix("Value error, ")
