"""Text on one line: recipes must contain no other, and text from older records is flattened for display."""

import unicodedata

_JOINERS = "\u200c\u200d"  # format characters that are part of the text, in Persian words and in emoji


def plain(text: str) -> bool:
    """Whether `text` is one line: no line break (including U+0085, U+2028 and U+2029), no control character, no
    invisible mark, and none that changes the writing direction."""
    return not any(map(_odd, text))


def flat(text: object, limit: int | None = None) -> str:
    """`text` as one line: characters that `plain` refuses become spaces, runs of spaces one; cut at `limit`."""
    line = " ".join("".join(" " if _odd(character) else character for character in str(text)).split())
    return line if limit is None or len(line) <= limit else f"{line[: limit - 3].rstrip()}..."


def _odd(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in ("Cc", "Zl", "Zp", "Cs") or (kind == "Cf" and character not in _JOINERS)
