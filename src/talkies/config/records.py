"""The one reader of the JSON records that we write ourselves: regular files of a bounded size, decoded strictly.

A `Kind` says what a kind of record holds, and what is to be done where one is damaged. Keys that a record does not know
are passed over, for another version may have written it; every key that it knows is checked.
"""

import errno
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, dataclass_transform

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from talkies.config.decode import needed
from talkies.config.errors import DataError, UserError
from talkies.config.numbers import LIMIT
from talkies.config.shown import named, shown

T = TypeVar("T")
SIZE = 16 << 20
"""Bytes that a record may have, where its kind does not say otherwise."""
DEEP = "it is nested too deeply"
_WORDS = {
    "finite_number": "a finite number",
    "string_too_short": "text that is not empty",
    "string_pattern_mismatch": "of the form {pattern}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}
_MODES = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a named pipe, no regular file"),
    (stat.S_ISSOCK, "it is a socket, no regular file"),
)


class IrregularError(OSError):
    """A folder, a pipe, a socket or a device in place of a regular file."""


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("text without a NUL character")
    return text


Name = Annotated[str, Field(min_length=1), AfterValidator(_no_nul)]
"""Text that is not empty: a name, a path, a URI."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Integer = Annotated[int, Field(ge=-LIMIT, lt=LIMIT)]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that is decoded without any coercion; other keys are passed over.

    A ValueError of its `__post_init__` completes "FILE is damaged: ...".
    """
    cls.__pydantic_config__ = {"extra": "ignore", "strict": True, "allow_inf_nan": False}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[T]):
    """A kind of record. `holds`: the type of its content; `about`: the first word of a message; `remedy`: what to do
    where one is damaged; `limit`: the most bytes that one may have."""

    holds: type[T]
    about: str
    remedy: str
    error: type[UserError] = DataError
    limit: int = SIZE

    def read(self, path: Path) -> T:
        """The record in the file `path`. Raises `error` where it is missing, no regular file, too large or damaged."""
        return self._decoded(self.content(path), str(path))

    def find(self, path: Path) -> T | None:
        """As `read`, but None where there is nothing at `path`."""
        return self.read(path) if present(path) else None

    def read_with(self, path: Path) -> tuple[T, bytes]:
        """As `read`, with the bytes that were decoded."""
        data = self.content(path)
        return self._decoded(data, str(path)), data

    def decode(self, data: bytes, where: str) -> T:
        """The record in `data`, which messages call `where`."""
        if len(data) > self.limit:
            raise self.damaged(where, f"it has {len(data)} bytes, and at most {self.limit} are read")
        return self._decoded(data, where)

    def damaged(self, where: object, how: str) -> UserError:
        """The error for the record `where`, which holds what it cannot hold."""
        return self.error(f"{self.about}: {where} is damaged: {how}; {self.remedy}")

    def content(self, path: Path) -> bytes:
        """What the file `path` holds, not decoded; errors as of `read`."""
        try:
            return regular_bytes(path, self.limit)
        except OSError as error:
            raise self.error(f"{self.about}: cannot read {path}: {error.strerror}; {self.remedy}") from None

    def _decoded(self, data: bytes, where: str) -> T:
        try:
            text = plain_json(data)
            holds: Any = self.holds
            found: T = _adapter(holds).validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if first["loc"] == ("schema",) and type(first["input"]) is int:
                raise self._of_another(where, first) from None
            raise self.damaged(where, _complaint(first)) from None
        except ValueError as error:
            raise self.damaged(where, str(error)) from None
        return found

    def _of_another(self, where: str, detail: ErrorDetails) -> UserError:
        found, (known,) = shown(detail["input"]), detail.get("ctx", {}).values()
        return self.error(
            f"{self.about}: {where} has schema {found}, this version reads {known}: use the talkies that wrote it; or "
            f"{self.remedy}"
        )


def present(path: Path) -> bool:
    """Whether anything is there, a broken link and a pipe too: who reads it will refuse it by name."""
    return os.path.lexists(path)


def regular_bytes(path: Path, limit: int) -> bytes:
    """What the regular file `path` holds. OSError, whose `strerror` says why, for anything else, which is not waited
    for, and for more than `limit` bytes, which are not read."""
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > limit else file.read(limit + 1)
    if max(size, len(data)) > limit:  # it may have grown meanwhile
        found = max(size, len(data))
        raise OSError(errno.EOVERFLOW, f"it has {found} bytes, and at most {limit} are read", str(path))
    return data


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of the regular file `path`. OSError, whose `strerror` says why, for anything else, which is not
    waited for."""
    with suppress(FileNotFoundError):  # which O_CREAT makes
        _need_regular(path.stat(), path)  # before it is opened: to open a device may do something
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o644)
    try:
        _need_regular(os.fstat(handle), path)
    except OSError:
        os.close(handle)
        raise
    return handle


def open_ours(path: Path, flags: int) -> int:
    """As `open_regular`, for a file that we make and keep open (a lock, a log). Raises DataError where something else
    has taken its place, OSError where the disk refuses."""
    try:
        return open_regular(path, flags | os.O_CREAT)
    except IrregularError as error:
        raise DataError(f"files: cannot open {path}: {error.strerror}; remove it, or move it away") from None


def _need_regular(found: os.stat_result, path: Path) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    for is_so, what in _MODES:
        if is_so(found.st_mode):
            raise IrregularError(errno.EINVAL, what, str(path))
    raise IrregularError(errno.EINVAL, "it is a device, no regular file", str(path))


def plain_json(data: bytes) -> str:
    """`data` as text that is one JSON value. ValueError, whose text completes "is damaged: ...", for anything else, a
    key that stands twice in a mapping, and numbers that are not finite."""
    if not data.strip():
        raise ValueError("it is empty")
    try:
        text = data.decode()
        json.loads(text, object_pairs_hook=_once, parse_constant=_not_finite, parse_float=_finite, parse_int=_short)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it holds no JSON object: {error.msg} in line {error.lineno}") from None
    except RecursionError:
        raise ValueError(DEEP) from None
    return text


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has the key {shown(twice)} twice")


def _not_finite(word: str) -> None:
    raise ValueError(f"it holds {word}, which is no finite number")


def _finite(digits: str) -> None:
    if float(digits) in (float("inf"), -float("inf")):
        raise ValueError(f"it holds {digits:.40}, which is no finite number")


def _short(digits: str) -> None:
    """Longer ones are no floats, and Python refuses the longest."""
    if len(digits) > 300:
        raise ValueError(f"it holds a number of {len(digits)} digits")


@cache
def _adapter(target: Any) -> TypeAdapter[Any]:
    return TypeAdapter(target)


def _complaint(detail: ErrorDetails) -> str:
    """What pydantic has found first, after "is damaged: "."""
    kind, value, path = detail["type"], detail["input"], ".".join(named(part) for part in detail["loc"])
    if kind == "json_invalid":
        deep = "recursion" in detail["msg"]
        return DEEP if deep else f"it holds no JSON object: {detail['msg']}"
    if kind == "missing":
        return f"it has no `{path}`"
    if kind == "value_error" and isinstance(value, dict):  # of __post_init__, which says it all
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
