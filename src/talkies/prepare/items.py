"""The media files that a folder or a manifest lists, before anybody has looked into them."""

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from talkies.config import DataError

SUFFIXES = (
    *(".aac", ".avi", ".flac", ".flv", ".m4a", ".m4v", ".mkv", ".mov", ".mp3", ".mp4", ".mpeg", ".mpg", ".mts"),
    *(".ogg", ".ogv", ".opus", ".ts", ".wav", ".webm", ".wmv"),
)
KEYS = ("media", "caption")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One media file. `id` is its name within the source; `caption` its text, or the file that should hold it."""

    id: str
    media: Path
    caption: str | Path


def ordered(items: Sequence[Item]) -> list[Item]:
    """By the sha256 of the id: the order, and so a split, depends on nothing but the names."""
    return sorted(items, key=lambda item: (hashlib.sha256(item.id.encode()).digest(), item.id))


def scan(folder: Path) -> tuple[list[Item], Mapping[str, int]]:
    """The media files below `folder`, each with the .txt of the same stem, and all other files counted by suffix.

    Hidden files and folders count as neither.
    """
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _hidden(path.relative_to(folder))]
    media = [path for path in found if path.suffix.lower() in SUFFIXES]
    known = {*media, *(path.with_suffix(".txt") for path in media)}
    others = Counter(path.suffix.lower() or path.name for path in found if path not in known)
    return [_item(folder, path) for path in media], dict(sorted(others.items()))


def _item(folder: Path, path: Path) -> Item:
    # A name that is not UTF-8 would break every file that lists it.
    name = path.relative_to(folder).as_posix().encode(errors="backslashreplace").decode()
    return Item(id=name, media=path, caption=path.with_suffix(".txt"))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read_manifest(path: Path) -> list[Item]:
    """One {"media": path, "caption": text} per line; paths are relative to the manifest, empty lines are skipped.

    Raises DataError with file:line for a line that is something else, or for a media file listed twice.
    """
    items: list[Item] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"prepare: {path}:{number}"
        item = _entry(path.parent, line, where)
        if item.id in lines:
            raise DataError(f"{where}: media {item.id!r} is listed twice, first in line {lines[item.id]}")
        lines[item.id] = number
        items.append(item)
    return items


def _lines(path: Path) -> list[str]:
    lines = []
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError as error:
            raise DataError(
                f"prepare: {path}:{number}: not UTF-8 ({error.reason}); save the manifest as UTF-8"
            ) from None
    return lines


def _entry(folder: Path, line: str, where: str) -> Item:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error}); one object per line is needed") from None
    if not isinstance(values, dict):
        raise DataError(f'{where}: needed {{"media": ..., "caption": ...}}, found {type(values).__name__}')
    for key in values.keys() - set(KEYS):
        near = difflib.get_close_matches(key, KEYS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"only {' and '.join(KEYS)} are allowed"
        raise DataError(f"{where}: unknown key {key!r}; {hint}")
    media, caption = values.get("media"), values.get("caption", "")
    if not isinstance(media, str) or not media or not isinstance(caption, str):
        raise DataError(f"{where}: `media` must be a path and `caption` text, found {media!r} and {caption!r}")
    return Item(id=PurePosixPath(media).as_posix(), media=folder / media, caption=caption)
