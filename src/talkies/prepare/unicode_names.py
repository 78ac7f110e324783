"""File names independent of their Unicode form: names that look the same may be stored as NFC, or as NFD on a Mac; here
they are equal.
"""

import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from talkies.config.quoting import listed, shown


def letters(text: str) -> str:
    """The Unicode form (NFC) that all spellings of `text` share."""
    return unicodedata.normalize("NFC", text)


class Spellings:
    """Finds files and folders whose names are spelled in another Unicode form; lists every folder once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[str]]] = {}

    def existing(self, path: Path) -> Path:
        """The existing path of that name, in whatever Unicode form it and its parents are spelled; `path` itself if
        there is none, or if several match and none exactly."""
        try:
            if path.exists() or path.name in ("", ".."):
                return path
            folder = self.existing(path.parent)
            names = self._names(folder).get(letters(path.name), []) if folder.is_dir() else []
        except OSError:  # reported when the clip is read
            return path
        if path.name in names:
            return folder / path.name
        return folder / names[0] if len(names) == 1 else path

    def _names(self, folder: Path) -> dict[str, list[str]]:
        """The names in a folder, by their common form."""
        if folder not in self._folders:
            names: dict[str, list[str]] = {}
            self._folders[folder] = names
            for path in folder.iterdir():
                names.setdefault(letters(path.name), []).append(path.name)
        return self._folders[folder]


def captions_of(media: Sequence[Path], texts: Sequence[Path]) -> dict[Path, Path]:
    """The caption file of every media file; if there is none, the path where it should be. A caption spelled exactly as
    the media file is preferred; if several match, a warning names the choice."""
    by_stem = _by_letters(texts)
    captions: dict[Path, Path] = {}
    for stem, group in _by_letters(media).items():
        candidates = by_stem.get(stem, [])
        for path in group:
            exact = path.with_suffix(".txt")
            captions[path] = exact if exact in candidates or not candidates else candidates[0]
        if candidates:
            _warn_of(group, candidates, captions)
    return captions


def _warn_of(media: Sequence[Path], texts: Sequence[Path], taken: Mapping[Path, Path]) -> None:
    """Warn if the names of several media files, or of their captions, differ in their Unicode form only."""
    if len({path.with_suffix("") for path in media}) > 1:
        pairs = listed([f"{path.name!a} takes {taken[path].name!a}" for path in media])
        message = f"media files whose names differ only in their Unicode form: {pairs}; rename all but one"
    elif len(texts) > 1:
        message = (
            f"{shown(media[0].name)} has {len(texts)} captions whose names differ only in their Unicode form "
            f"({listed([ascii(path.name) for path in texts])}); {taken[media[0]].name!a} is used, remove the others"
        )
    else:
        return
    warnings.warn(f"prepare: {message}", stacklevel=4)


def _by_letters(paths: Sequence[Path]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(letters(str(path.with_suffix(""))), []).append(path)
    return groups
