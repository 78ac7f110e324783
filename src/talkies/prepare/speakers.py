"""Who is seen in a clip, as its caption or a file beside it says, and the subsets that are chosen by it.

A caption that says it is written as those of MTV (arXiv 2506.08003):

    2 person conversation. Persons: Person1: a man. Person2: a girl. Person1 is speaking. Scene Description: a park.
    No conversation. Scene Description: a park.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from talkies.config.numbers import Natural
from talkies.config.quoting import shown
from talkies.config.records import Kind, record
from talkies.prepare.config import Subset
from talkies.prepare.rejection import Rejected

FORM = '{"people": NUMBER, "talking_head": true or false}'
TEMPLATE = '"<N> person conversation. Persons: Person1: ... Scene Description: ..."'
BY_PEOPLE = ("basic_face", "single_character", "multiple_characters")
"""The subsets that are chosen by who is seen."""
_OPENING = re.compile(r"(?:(\d{1,3}) person|No) conversation\.\s*", re.ASCII)
_SCENE = "Scene Description:"
_PERSON = re.compile(r"Person(\d{1,3}):", re.ASCII)
_SPEAKING = re.compile(r"Person(\d{1,3}) is speaking", re.ASCII)


@record
class People:
    """NAME.json beside a media file: how many `people` are seen, and whether it is a `talking_head`."""

    people: Natural
    talking_head: bool = False


PEOPLE = Kind(holds=People, about="prepare", remedy=f"write {FORM}")


def sidecar(media: Path) -> Path:
    """The file with the people of a media file."""
    return media.with_suffix(".json")


@dataclass(frozen=True, kw_only=True)
class Cast:
    """What a caption of the template says: how many `people` converse (0: none does), the numbers of those `speaking`
    (from 1), and the `scene`."""

    people: int
    speaking: tuple[int, ...]
    scene: str


def cast_of(caption: str) -> Cast | None:
    """The cast of a caption; None if it is not of the template. ValueError if it contradicts itself."""
    opening = _OPENING.match(caption)
    if opening is None:
        return None
    persons, found, scene = caption[opening.end() :].partition(_SCENE)
    if not found:
        raise ValueError(f"it has no {shown(_SCENE)}")
    count = int(opening[1] or 0)
    described = [int(number) for number in _PERSON.findall(persons)]
    if described != list(range(1, count + 1)):
        raise ValueError(f"it says {count} person conversation, and describes the persons {described or 'none'}")
    speaking = tuple(int(number) for number in _SPEAKING.findall(persons))
    for number in speaking:
        if number not in described:
            raise ValueError(f"it says that Person{number} is speaking, who is none of its {count}")
    return Cast(people=count, speaking=speaking, scene=scene.strip())


def check_people(subset: Subset | None, caption: str, people: People | None) -> None:
    """Raises Rejected for a clip that a set of this subset does not take by who is seen, or if that is not known."""
    if subset not in BY_PEOPLE:
        return
    if subset == "basic_face":
        if people is None:
            raise Rejected("people", f"nothing says whether it is a talking head: write NAME.json, {FORM}")
        if not people.talking_head:
            raise Rejected("subset", "it is no talking head")
        return
    count = _count(caption, people)
    if (count == 1) if subset == "single_character" else (count >= 2):
        return
    raise Rejected("subset", f"{count} people are seen")


def _count(caption: str, people: People | None) -> int:
    """How many people are seen: NAME.json says it, else the caption."""
    try:
        cast = cast_of(caption)
    except ValueError as error:
        raise Rejected("people", f"its caption contradicts its template: {error}") from None
    if people is not None:
        return people.people
    if cast is None:
        raise Rejected(
            "people", f"nothing says how many people are seen: write NAME.json, {FORM}, or the caption as {TEMPLATE}"
        )
    return cast.people
