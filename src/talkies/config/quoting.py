"""How messages show values: short, on one line, without control characters and credentials."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from talkies.config.secrets import masked

WIDTH = 80
MAX_NAMES = 12
_READ = 2_000
"""Characters of a long value that are examined: enough to fill WIDTH after masking."""


def shown(value: Any) -> str:
    """A value in at most 80 characters, as its repr, so that control characters, lone surrogates and bidi marks are
    escapes; credentials are ***."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int) and value.bit_length() > 4 * WIDTH:
        return f"an integer of about {round(value.bit_length() * 0.30103)} digits"
    if isinstance(value, Path | str):
        return _cut(repr(masked(_head(str(value)))))
    return _cut(one_line(repr(value)))


def named(text: object) -> str:
    """A name, a key path or a file without quotes, in at most 80 characters; otherwise like `shown`."""
    return _cut(one_line(_head(str(text))))


def listed(names: Sequence[object], mark: str = "") -> str:
    """The first names of a list, each as `named` between two marks, and the number of the others."""
    words = ", ".join(f"{mark}{named(name)}{mark}" for name in names[:MAX_NAMES])
    return words + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")


def one_line(text: str) -> str:
    """`text` of any length; credentials become ***, control characters and line breaks become escapes."""
    return "".join(map(_escaped, masked(text)))


def printed(message: str) -> str:
    """A whole message like `one_line`, but with its line breaks."""
    return "\n".join(map(one_line, message.split("\n")))


def _head(text: str) -> str:
    """The beginning of a long text, plus an `@` if the rest has one: it marks a password before it."""
    head, rest = text[:_READ], text[_READ:]
    return head + "@" * ("@" in rest)


def _escaped(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."
