"""The media files that a folder or a manifest lists; none is opened yet."""

import difflib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NoReturn

from talkies.codecs.prompt import LONGEST
from talkies.config import DataError
from talkies.config.quoting import WIDTH, listed, shown
from talkies.prepare import speakers
from talkies.prepare.lip_sync import SCORES, SyncScores, sidecar
from talkies.prepare.speakers import PEOPLE, People
from talkies.prepare.unicode_names import Spellings, captions_of, letters

SUFFIXES = (
    *(".3g2", ".3gp", ".aac", ".avi", ".flac", ".flv", ".m2ts", ".m4a", ".m4v", ".mkv", ".mov", ".mp3", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogg", ".ogv", ".opus", ".ts", ".vob", ".wav", ".webm", ".wmv"),
)
TRACKS = ("speech", "speech2", "effects", "music", "dialog")
"""Tracks that demixers make: NAME.speech.wav beside NAME.mp4 is part of it, and no media of its own."""
KEYS = ("media", "caption", "sync", "seen")
LINE = 1 << 24
"""Longest line of a manifest in bytes. A caption is cut to LONGEST + 1, so that a longer one is quarantined."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One media file. `id` is its name within the source; `caption` its text, or the file that should hold it; `sync`
    its lip-sync scores and `people` who is seen, if that is known; `stems` the files of its tracks, by the ends of
    their names."""

    id: str
    media: Path
    caption: str | Path
    sync: SyncScores | None = None
    people: People | None = None
    stems: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is looked for beside the media: lip-sync `scores` in NAME.sync.json, `people` in NAME.json, and the files of
    tracks, whose names end with `stems` (.speech.wav) where the media's have their suffix."""

    scores: bool = False
    people: bool = False
    stems: tuple[str, ...] = ()


NOTHING = Beside()


def ordered(items: Sequence[Item], *, group: Callable[[str], str] = str) -> list[Item]:
    """Sorted by the sha256 of the group of the id, and of the id: the order, and so the split, depends on names only,
    and a group stays together."""
    return sorted(items, key=lambda item: tuple(_shuffled(name) for name in (group(item.id), item.id)))


def _shuffled(name: str) -> tuple[bytes, str]:
    return hashlib.sha256(name.encode()).digest(), name


def scan(folder: Path, beside: Beside = NOTHING) -> tuple[list[Item], Mapping[str, int]]:
    """The media files below `folder`, each with the .txt of the same stem, and all other files counted by suffix. With
    what is looked for `beside` them, too. Files of tracks are no media, whether anything reads them or not.

    Stems match in any Unicode form (NFC, or NFD as on a Mac), and .TXT is accepted. A dangling link is an item too, so
    that it is quarantined and not overlooked. Hidden files and folders are ignored. Raises DataError for a folder that
    cannot be listed.
    """
    try:
        paths = sorted(_walk(folder))
        every = [path for path in paths if path.suffix.lower() in SUFFIXES and not path.is_dir()]
        parts = _parts(every)
        media = [path for path in every if path not in parts and not path.name.endswith(beside.stems)]
        captions = captions_of(media, [path for path in paths if path.suffix.lower() == ".txt"])
        spellings = Spellings()
        sidecars = {path: spellings.existing(sidecar(path)) for path in media if beside.scores}
        seen = {path: spellings.existing(speakers.sidecar(path)) for path in media if beside.people}
        stems = {path: _stems(path, beside, spellings) for path in media}
        parted = [path for found in stems.values() for path in found.values()]
        known = {*media, *captions.values(), *sidecars.values(), *seen.values(), *parted}
        others = Counter(_kind(path) for path in paths if path not in known)
    except OSError as error:
        raise DataError(
            f"prepare: cannot list {error.filename} ({error.strerror}); make it readable or move it away"
        ) from None
    scores = {path: SCORES.find(sidecars[path]) for path in sidecars}
    people = {path: PEOPLE.find(seen[path]) for path in seen}
    items = [
        Item(
            id=_utf8(path.relative_to(folder).as_posix()),
            media=path,
            caption=captions[path],
            sync=scores.get(path),
            people=people.get(path),
            stems=stems[path],
        )
        for path in media
    ]
    return items, dict(sorted(others.items()))


def _parts(paths: Sequence[Path]) -> set[Path]:
    """The files of tracks among `paths`: NAME.TRACK.wav and NAME.LABEL.TRACK.wav beside a media file NAME."""
    wholes = {letters(str(path.with_suffix(""))) for path in paths}
    found = set()
    for path in paths:
        stem = path.with_suffix("")
        if path.suffix.lower() == ".wav" and stem.suffix[1:].lower() in TRACKS:
            name = stem.with_suffix("")
            if wholes & {letters(str(name)), letters(str(name.with_suffix("")))}:
                found.add(path)
    return found


def _stems(media: Path, beside: Beside, spellings: Spellings) -> dict[str, Path]:
    """The files of a media file's tracks, where they are or should be."""
    return {end: spellings.existing(media.with_suffix(end)) for end in beside.stems}


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below `folder` except plain folders; includes folders that are links or are named like media."""

    def refuse(error: OSError) -> NoReturn:
        raise error

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(place)
        special = [name for name in folders if (here / name).is_symlink() or Path(name).suffix.lower() in SUFFIXES]
        yield from (here / name for name in (*special, *files) if not name.startswith("."))


def _kind(path: Path) -> str:
    """The name under which the report counts a file."""
    kind = _utf8(path.suffix.lower() or path.name)
    return f"{kind} ({'linked ' if path.is_symlink() else ''}folder)" if path.is_dir() else kind


def _utf8(name: str) -> str:
    """The name as valid UTF-8; any other name would break every file that lists it."""
    return name.encode(errors="backslashreplace").decode()


def read_manifest(path: Path, beside: Beside = NOTHING) -> list[Item]:
    """One {"media": path, "caption": text} per line, with "sync": {"offset": frames, "confidence": number} and "seen":
    {"people": number, "talking_head": truth} where they are known; paths are relative to the manifest, empty lines are
    skipped. Files of tracks are looked for `beside` the media.

    Raises DataError with file:line for an invalid line, or for a media file listed twice.
    """
    items: list[Item] = []
    lines: dict[str, int] = {}
    spellings = Spellings()
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"prepare: {path}:{number}"
        item = _entry(path.parent, line, where, spellings)
        item = replace(item, stems=_stems(item.media, beside, spellings))
        if item.id in lines:
            raise DataError(f"{where}: media {shown(item.id)} is listed twice, first in line {lines[item.id]}")
        lines[item.id] = number
        items.append(item)
    return items


def _lines(path: Path) -> Iterator[str]:
    """The lines of a manifest, one at a time."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LINE + 1), b""), 1):
                if len(line) > LINE:
                    raise DataError(
                        f"prepare: {path}:{number}: longer than {LINE:,} bytes; one clip per line is needed"
                    )
                yield _text(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, f"{path}:{number}")
    except OSError as error:
        raise DataError(f"prepare: manifest {path} cannot be read ({error.strerror})") from None


def _text(line: bytes, where: str) -> str:
    try:
        return line.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"prepare: {where}: not UTF-8 ({error.reason}); save the manifest as UTF-8") from None


def _entry(folder: Path, line: str, where: str, spellings: Spellings) -> Item:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); one object per line is needed") from None
    if not isinstance(values, dict):
        raise DataError(f'{where}: needed {{"media": ..., "caption": ...}}, found {type(values).__name__}')
    for key in values.keys() - set(KEYS):
        near = difflib.get_close_matches(key[:WIDTH], KEYS, 1)
        hint = f"did you mean {shown(near[0])}?" if near else f"only {listed(KEYS)} are allowed"
        raise DataError(f"{where}: unknown key {shown(key)}; {hint}")
    media, caption = values.get("media"), values.get("caption", "")
    if not isinstance(media, str) or not media or not isinstance(caption, str):
        raise DataError(
            f"{where}: `media` must be a path and `caption` text, found {shown(media)} and {shown(caption)}"
        )
    try:
        os.fsencode(media)
    except UnicodeEncodeError:
        raise DataError(
            f"{where}: `media` is {shown(media)}, which contains a lone surrogate and cannot be a file name"
        ) from None
    if "\0" in media:
        raise DataError(f"{where}: `media` is {shown(media)}, which contains NUL and cannot be a file name")
    place = where.removeprefix("prepare: ")
    scores = SCORES.decode(json.dumps(values["sync"]).encode(), f"{place}: `sync`") if "sync" in values else None
    people = PEOPLE.decode(json.dumps(values["seen"]).encode(), f"{place}: `seen`") if "seen" in values else None
    return Item(
        id=_utf8(PurePosixPath(media).as_posix()),
        media=spellings.existing(folder / media),
        caption=caption[: LONGEST + 1],
        sync=scores,
        people=people,
    )
