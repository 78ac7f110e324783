"""What is said, and how it sounds, in one line: `<describe> A calm voice in a hall. <script> [S1] Hello. [S2] Hi!`.

Both parts may be left out; a line without tags is a description.
"""

import re
import unicodedata
from dataclasses import dataclass

from talkies.config.quoting import shown

DESCRIBE, SAY = "<describe>", "<script>"
_SPEAKER = re.compile(r"\[S([1-9][0-9]?)\]")
_OPEN, _CLOSE = r"[\[\uff3b\u3010]", r"[\]\uff3d\u3011]"
_MISSPELT = re.compile(
    rf"{_OPEN}\s*s(?:peaker)?[\s_#.:-]{{0,3}}(?:\d+\s*{_CLOSE}?|{_CLOSE}|$)|\b[sS]\d+\s*{_CLOSE}", re.IGNORECASE
)
"""What is meant to say who speaks, once the marks of `_SPEAKER` are gone: [s1], [S0], [Speaker 1], [S1 and S1]."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What speaker `speaker`, from 1, says next."""

    speaker: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Script:
    """What is said (`words`, with marks `[S1]` where a speaker begins), and how it sounds (`description`)."""

    words: str = ""
    description: str = ""

    @classmethod
    def parse(cls, line: str) -> "Script":
        """Both parts of a line, without the space around them."""
        described, _, words = line.partition(SAY)
        return cls(words=words.strip(), description=described.replace(DESCRIBE, " ", 1).strip())

    def __str__(self) -> str:
        """The line, which `parse` reads."""
        parts = ((DESCRIBE, self.description), (SAY, self.words))
        return " ".join(f"{tag} {text}" for tag, text in parts if text)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Who says what, in order; what no mark precedes is said by the first speaker."""
        before, *marked = _SPEAKER.split(self.words)
        found = [(1, before), *((int(number), text) for number, text in zip(marked[::2], marked[1::2], strict=True))]
        return tuple(Turn(speaker=number, text=text.strip()) for number, text in found if text.strip())

    @property
    def spoken(self) -> int:
        """Letters, marks and digits that are said, of any writing system."""
        return sum(unicodedata.category(letter)[0] in "LMN" for turn in self.turns for letter in turn.text)

    def problem(self) -> str | None:
        """What makes the words unfit to be said; None if nothing does."""
        if (found := control_character(self.words)) is not None:
            return f"it has the {found}"
        if (mark := next((mark for mark in (DESCRIBE, SAY) if mark in self.words), None)) is not None:
            return f"it has the mark {mark}, which stands before it alone"
        if (misspelt := _MISSPELT.search(_SPEAKER.sub("|", self.words))) is not None:
            return f"it has {shown(misspelt[0].strip())}, which would be said: a speaker is written [S1] to [S99]"
        if not self.spoken:
            return "it says nothing: no letter and no digit"
        return None


def control_character(text: str) -> str | None:
    """The first one that is neither a line break nor a tab, and its place; None if there is none."""
    for place, letter in enumerate(text):
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t":
            return f"control character U+{ord(letter):04X} at position {place}"
    return None
