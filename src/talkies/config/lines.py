"""Text on one line: what recipes must hold, and what records that were made before are shown as."""

import unicodedata

_JOINERS = "\u200c\u200d"  # of Persian words and of emoji: they are format characters that belong to the text


def plain(text: str) -> bool:
    """Whether `text` is one line: no line break (U+0085, U+2028 and U+2029 too), no control character, no mark that
    changes the direction of writing or is not seen at all."""
    return not any(map(_odd, text))


def flat(text: object, limit: int | None = None) -> str:
    """`text` as one line: odd characters become spaces, and runs of spaces one; cut at `limit` characters."""
    line = " ".join("".join(" " if _odd(character) else character for character in str(text)).split())
    return line if limit is None or len(line) <= limit else f"{line[: limit - 3].rstrip()}..."


def _odd(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in ("Cc", "Zl", "Zp", "Cs") or (kind == "Cf" and character not in _JOINERS)
