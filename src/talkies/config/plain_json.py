"""JSON that is read strictly (one value, no key twice, finite numbers of a bounded length), and its canonical form."""

import hashlib
import json
from collections import Counter
from typing import Any

from talkies.config.quoting import shown

DIGITS = 300
"""The most digits of an integer."""
_DIGITS_ALONE = bytes(48 if 48 <= byte < 58 else 32 for byte in range(256))
DEEP = "it is nested too deeply"


def canonical_json(value: object) -> str:
    """JSON that depends only on the value: sorted keys, ASCII, no NaN. This is what is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def json_sha256(value: object) -> str:
    """sha256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def plain_json(data: bytes) -> str:
    """`data` as text that is one JSON value. Raises ValueError, whose text completes "is damaged: ...", for anything
    else, duplicate keys, and numbers that are not finite."""
    if not data.strip():
        raise ValueError("it is empty")
    try:
        text = data.decode()
        long = b"0" * (DIGITS + 1) in data.translate(_DIGITS_ALONE)  # a call for every integer would be slow
        integer = _short if long else None
        json.loads(text, object_pairs_hook=_once, parse_constant=_not_finite, parse_float=_finite, parse_int=integer)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it holds no JSON object: {error.msg} in line {error.lineno}") from None
    except RecursionError:
        raise ValueError(DEEP) from None
    return text


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        twice = next(name for name, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"it has the key {shown(twice)} twice")


def _not_finite(word: str) -> None:
    raise ValueError(f"it holds {word}, which is not a finite number")


def _finite(digits: str) -> None:
    if float(digits) in (float("inf"), -float("inf")):
        raise ValueError(f"it holds {digits:.40}, which is not a finite number")


def _short(digits: str) -> None:
    """Refuse longer integers: they do not fit a float, and Python refuses the longest with an error of its own."""
    if len(digits) > DIGITS:
        raise ValueError(f"it holds a number of {len(digits)} digits")
