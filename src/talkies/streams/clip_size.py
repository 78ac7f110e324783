"""The size of a clip as text: HEIGHTxWIDTHxFRAMES@FPS, or the seconds of sound alone, such as 10s or 2.5s."""

import re
from typing import Annotated

from pydantic import AfterValidator

LONGEST = 100
"""Seconds."""
FORMS = (
    f"HEIGHTxWIDTHxFRAMES@FPS, for example 352x640x193@24, or, for sound alone, up to {LONGEST} seconds as 10s, 2.5s"
)
_SECONDS = re.compile(r"(\d{1,9})(?:\.(\d{1,3}))?s", re.ASCII)
_MILLISECONDS = re.compile(r"1x1x([1-9]\d{0,8})@1000", re.ASCII)


def canonical(text: str) -> str:
    """Seconds as one pixel for so many milliseconds, which headers and records hold: 2.5s -> 1x1x2500@1000. Other text
    is left as it is, seconds that no clip can last among them."""
    match = _SECONDS.fullmatch(text)
    if match is None:
        return text
    milliseconds = 1000 * int(match[1]) + int((match[2] or "").ljust(3, "0"))
    return f"1x1x{milliseconds}@1000" if 0 < milliseconds <= 1000 * LONGEST else text


def spelled(text: str) -> str:
    """As messages and reports name a size: 1x1x2500@1000 -> 2.5s, other text as it is."""
    match = _MILLISECONDS.fullmatch(text)
    return text if match is None else f"{int(match[1]) / 1000:.12g}s"


ClipSize = Annotated[str, AfterValidator(canonical)]
"""A size in a recipe, whose decoding makes it canonical."""
