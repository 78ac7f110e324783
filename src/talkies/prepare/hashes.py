"""The sha256 of every file of a source; a file is hashed once and then only after a change."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from talkies.codecs.prompt import LONGEST
from talkies.config import DataError
from talkies.config.plain_json import canonical_json
from talkies.config.records import Kind
from talkies.files.durable import write_text
from talkies.files.integrity import sha256_of, stamp, stamp_is_reliable
from talkies.prepare.items import Item

HASHES = Kind(holds=dict[str, tuple[str, str]], about="prepare", remedy="remove it: it only saves time", limit=1 << 30)


MISSING = "missing"


class Hashes:
    """sha256 of files, cached in the file `cache` by (size, times, inode). Losing the cache only costs time."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._known: dict[str, tuple[str, str]] = _read(cache)
        self._found: dict[str, tuple[str, str]] = {}

    def content(self, item: Item) -> list[str]:
        """[id, sha256 of the media, of the caption, and of the files of tracks]; "missing" for a file that does not
        exist."""
        return [item.id, self.media(item), self._text(item), *self._tracks(item)]

    def _text(self, item: Item) -> str:
        if isinstance(item.caption, Path):
            return self._caption(item.id, item.caption)
        return hashlib.sha256(item.caption.encode(errors="surrogatepass")).hexdigest()

    def _tracks(self, item: Item) -> list[str]:
        return [self._file(f"{item.id}\0{end}", path) for end, path in sorted(item.stems.items())]

    def media(self, item: Item) -> str:
        """sha256 of the media."""
        return self._file(item.id, item.media)

    def remembered(self, name: str, mark: str, make: Callable[[], str]) -> str:
        """The result of `make`, cached under `name` as long as `mark` is the same."""
        known = self._known.get(name)
        self._found[name] = known if known and known[0] == mark else (mark, make())
        return self._found[name][1]

    def save(self) -> None:
        """Write the cache."""
        if self._found != self._known:
            write_text(self.cache, canonical_json(self._found))

    def _caption(self, name: str, path: Path) -> str:
        """sha256 of a caption; one that is too long is named by its size and not read."""
        try:
            size = path.stat().st_size
        except OSError:
            return MISSING
        return f"{size} bytes" if size > LONGEST else self._file(f"{name}\0caption", path)

    def _file(self, name: str, path: Path) -> str:
        try:
            if not path.is_file():  # reading a pipe would block
                return MISSING
            mark = stamp(path)
            known = self._known.get(name)
            digest = known[1] if known and known[0] == mark else sha256_of(path)
            if stamp_is_reliable(path):
                self._found[name] = (mark, digest)
        except OSError:
            return MISSING
        return digest


def _read(cache: Path) -> dict[str, tuple[str, str]]:
    try:
        return HASHES.find(cache) or {}
    except DataError:
        return {}


def contents(items: Sequence[Item], hashes: Hashes) -> list[list[str]]:
    """The content of every item, in order."""
    return [hashes.content(item) for item in items]
