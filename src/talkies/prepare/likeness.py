"""Which media files have the same content.

Copies (`same`) are files of the same bytes, and files whose first window shows the same pictures in the same way with
the same sound: in another container, cut off behind the window, or with the sound coded anew. Files whose moving
pictures are the same, but not their sound (dubbed, or none) or how they are shown (colours, orientation, rate), are no
copies, but of one `kin`. Of still pictures the sound alone tells, and files without pictures are copies where their
sound is the same to the bit. The window is the shortest of the recipe's sets.

Hashing costs nothing beyond what names a set's content already. One picture of every file is decoded, all of the window
and its sound only where that agrees; what was found is remembered by the files' sha256.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import av

from talkies.media.container import MediaError
from talkies.media.content import has_sound, pictures_of, sound_digest, sounds_alike
from talkies.prepare.geometry import Geometry
from talkies.prepare.hashes import Hashes

STILL, MOVING, SOUND = "still", "moving", "sound"


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """What names a file's content (`same`), and what it must be on one side of a split with (`kin`)."""

    same: str
    kin: str


@dataclass(frozen=True, kw_only=True)
class FilePlace:
    """Where a file with some sha256 lies, and what remembers things of it."""

    path: Path
    hashes: Hashes

    def remembered(self, name: str, make: Callable[[], str], otherwise: str) -> str:
        """What `make` answers, or `otherwise` where the file cannot be decoded."""

        def made() -> str:
            try:
                return make()
            except (MediaError, ValueError):
                return otherwise

        return self.hashes.remembered(name, av.__version__, made)


def likenesses(places: Mapping[str, FilePlace], window: Geometry) -> dict[str, Likeness]:
    """Of every file, by the sha256 of its bytes. Depends on contents only."""
    heads = {sha: _head(sha, place, window) for sha, place in places.items()}
    often = Counter(heads.values())
    found = {sha: Likeness(same=sha, kin=sha) for sha in places}
    groups: dict[str, list[str]] = {}
    for sha in sorted(sha for sha, head in heads.items() if often[head] > 1):
        groups.setdefault(_content(sha, places[sha], heads[sha], window), []).append(sha)
    for content, shas in groups.items():
        found |= _by_sound(content, {sha: places[sha] for sha in shas}, window)
    return found


def _head(sha: str, place: FilePlace, window: Geometry) -> str:
    """A digest of the first picture, or of the sound where there is none."""

    def make() -> str:
        found = pictures_of(place.path, frames=1)
        return f"{SOUND} {sound_digest(place.path, seconds=window.seconds)}" if found is None else found.digest

    return place.remembered(f"{sha}\0{window.seconds}\0head", make, otherwise=sha)


def _content(sha: str, place: FilePlace, head: str, window: Geometry) -> str:
    """The same of all pictures of the window, with whether they move and how they are shown."""

    def make() -> str:
        found = pictures_of(place.path, frames=window.frames)
        return head if found is None else f"{STILL if found.still else MOVING} {found.digest} {found.shown}"

    return place.remembered(f"{sha}\0{window.frames}\0content", make, otherwise=sha)


def _by_sound(content: str, places: Mapping[str, FilePlace], window: Geometry) -> dict[str, Likeness]:
    """Files with the same pictures, in the order of `places`, told apart by their sound."""
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
