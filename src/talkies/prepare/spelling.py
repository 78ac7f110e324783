"""Names of files by their letters: Unicode spells some of them in several ways (a Mac's NFD, everybody else's NFC), and
what looks the same is the same here.
"""

import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from talkies.config.shown import listed, shown


def letters(text: str) -> str:
    """What all spellings of `text` have in common."""
    return unicodedata.normalize("NFC", text)


class Spellings:
    """Finds files and folders under another spelling than the one that is asked for; reads every folder once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[str]]] = {}

    def there(self, path: Path) -> Path:
        """What is there of that name, however it and the folders above it are spelled; `path` itself where nothing is,
        and where several are of which none is spelled so."""
        try:
            if path.exists() or path.name in ("", ".."):
                return path
            folder = self.there(path.parent)
            names = self._names(folder).get(letters(path.name), []) if folder.is_dir() else []
        except OSError:  # told of the clip, when it is read
            return path
        if path.name in names:
            return folder / path.name
        return folder / names[0] if len(names) == 1 else path

    def _names(self, folder: Path) -> dict[str, list[str]]:
        """The names in a folder by their letters."""
        if folder not in self._folders:
            found: dict[str, list[str]] = {}
            self._folders[folder] = found
            for path in folder.iterdir():
                found.setdefault(letters(path.name), []).append(path.name)
        return self._folders[folder]


def captions_of(media: Sequence[Path], texts: Sequence[Path]) -> dict[Path, Path]:
    """The caption of every media file; where there is none, what it should be called. One that is spelled as the media
    file is comes first; where spellings leave a choice, a warning tells it."""
    theirs = _by_letters(texts)
    found: dict[Path, Path] = {}
    for stem, group in _by_letters(media).items():
        same = theirs.get(stem, [])
        for path in group:
            wanted = path.with_suffix(".txt")
            found[path] = wanted if wanted in same or not same else same[0]
        if same:
            _warn_of(group, same, found)
    return found


def _warn_of(media: Sequence[Path], texts: Sequence[Path], taken: Mapping[Path, Path]) -> None:
    """Warn where the names of media files, or of their captions, are the same but for their spelling."""
    if len({path.with_suffix("") for path in media}) > 1:
        pairs = listed([f"{path.name!a} takes {taken[path].name!a}" for path in media])
        told = f"media files whose names differ only in how they are spelled: {pairs}; rename all but one"
    elif len(texts) > 1:
        told = (
            f"{shown(media[0].name)} has {len(texts)} captions whose names differ only in how they are spelled "
            f"({listed([ascii(path.name) for path in texts])}); {taken[media[0]].name!a} is taken, remove the others"
        )
    else:
        return
    warnings.warn(f"prepare: {told}", stacklevel=4)


def _by_letters(paths: Sequence[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(letters(str(path.with_suffix(""))), []).append(path)
    return found
