"""Which media files have the same content.

Copies (`same`) are files with the same bytes, and files whose first window has the same pictures, displayed in the same
way, with the same sound: in another container, cut after the window, or with re-encoded sound. Files with the same
moving pictures but other sound (dubbed, or none) or another display (colours, orientation, rate) are not copies, but of
one `kin`. Still pictures are distinguished by their sound alone; files without pictures are copies if their sound is
bitwise the same. The window is the shortest of the recipe's sets.

Files are hashed anyway, to name a set's content. One picture of every file is decoded; the whole window and its sound
only if that picture agrees with another file's. Results are cached by the files' sha256.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import av

from talkies.media.container import MediaError
from talkies.media.content import has_sound, pictures_of, sound_digest, sounds_alike
from talkies.prepare.geometry import Geometry
from talkies.prepare.hashes import Hashes

STILL, MOVING, SOUND = "still", "moving", "sound"
FASTEST = 60
"""Frames per second of films that are compared although only their sound is used."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """The name of a file's content (`same`), and of the group (`kin`) that must be on one side of a split."""

    same: str
    kin: str


@dataclass(frozen=True, kw_only=True)
class FilePlace:
    """The location of a file with some sha256, and the cache of results about it."""

    path: Path
    hashes: Hashes

    def remembered(self, name: str, make: Callable[[], str], otherwise: str) -> str:
        """The cached result of `make`, or `otherwise` if the file cannot be decoded."""

        def guarded() -> str:
            try:
                return make()
            except (MediaError, ValueError):
                return otherwise

        return self.hashes.remembered(name, av.__version__, guarded)


def likenesses(places: Mapping[str, FilePlace], window: Geometry) -> dict[str, Likeness]:
    """The Likeness of every file, by the sha256 of its bytes. Depends on contents only."""
    heads = {sha: _head(sha, place, window) for sha, place in places.items()}
    counts = Counter(heads.values())
    result = {sha: Likeness(same=sha, kin=sha) for sha in places}
    groups: dict[str, list[str]] = {}
    for sha in sorted(sha for sha, head in heads.items() if counts[head] > 1):
        groups.setdefault(_content(sha, places[sha], heads[sha], window), []).append(sha)
    for content, shas in groups.items():
        result |= _by_sound(content, {sha: places[sha] for sha in shas}, window)
    return result


def _head(sha: str, place: FilePlace, window: Geometry) -> str:
    """A digest of the first picture, or of the sound if there is none."""

    def make() -> str:
        pictures = pictures_of(place.path, frames=1)
        return f"{SOUND} {sound_digest(place.path, seconds=window.seconds)}" if pictures is None else pictures.digest

    return place.remembered(f"{sha}\0{window.seconds}\0head", make, otherwise=sha)


def _content(sha: str, place: FilePlace, head: str, window: Geometry) -> str:
    """A digest of all pictures of the window, with whether they move and how they are displayed."""
    frames = ceil(FASTEST * window.seconds) if window.sound_alone else window.frames

    def make() -> str:
        pictures = pictures_of(place.path, frames=frames)
        return head if pictures is None else f"{STILL if pictures.still else MOVING} {pictures.digest} {pictures.shown}"

    return place.remembered(f"{sha}\0{frames}\0content", make, otherwise=sha)


def _by_sound(content: str, places: Mapping[str, FilePlace], window: Geometry) -> dict[str, Likeness]:
    """The Likeness of files with the same pictures, in the order of `places`, distinguished by their sound."""
    kind, *digest = content.split(" ")[:2]
    if kind not in (STILL, MOVING):
        return {sha: Likeness(same=content, kin=content) for sha in places}
    firsts: list[str] = []
    chosen: dict[str, str] = {}
    for sha, place in places.items():
        if not _sounds(sha, place):
            chosen[sha] = "mute"
            continue
        chosen[sha] = next((first for first in firsts if _alike(first, sha, places, window)), sha)
        firsts += [sha] if chosen[sha] == sha else []
    same = {sha: f"{content} {first}" for sha, first in chosen.items()}
    return {sha: Likeness(same=name, kin=digest[0] if kind == MOVING else name) for sha, name in same.items()}


def _sounds(sha: str, place: FilePlace) -> bool:
    return place.remembered(f"{sha}\0sounds", lambda: str(has_sound(place.path)), otherwise=str(True)) == str(True)


def _alike(first: str, sha: str, places: Mapping[str, FilePlace], window: Geometry) -> bool:
    place, other = places[sha], places[first]
    name = f"{first}\0{sha}\0{window.seconds}\0alike"
    found = place.remembered(
        name, lambda: str(sounds_alike(other.path, place.path, seconds=window.seconds)), otherwise=str(False)
    )
    return found == str(True)
