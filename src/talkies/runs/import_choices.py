"""What the user chooses of an import, and what of it can be checked before the folder is read."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from talkies.config import RecipeError, StorageError
from talkies.config.quoting import shown
from talkies.config.records import present
from talkies.config.regular_files import resolved
from talkies.files.durable import FULL, check_room
from talkies.prepare.geometry import Geometry
from talkies.recipe.config import NAME, NAME_LENGTH


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the user chooses: the layout, the release's name, the geometry of its clips, hard links, pickles, and globs
    of keys that may be left out."""

    layout: str | None = None
    name: str | None = None
    geometry: str | None = None
    link: bool = False
    pickle: bool = False
    drop: Sequence[str] = ()


def check_choices(folder: Path, out: Path, choices: Choices) -> None:
    """RecipeError for an option that no folder makes right, StorageError for a disk that cannot be written."""
    if choices.name is not None or folder.is_dir():
        release_name(folder, choices)
    if choices.geometry is not None:
        try:
            Geometry.parse(choices.geometry, key="--geometry")
        except RecipeError as error:
            raise RecipeError(f"import: {str(error).removeprefix('recipe: ')}") from None
    check_out(folder, out)


def release_name(folder: Path, choices: Choices) -> str:
    """The one that is chosen, or that of the folder; RecipeError for one that no release may have."""
    name = resolved(folder).name if choices.name is None else choices.name
    if re.fullmatch(NAME, name) is None or len(name) > NAME_LENGTH:
        what = "--name " if choices.name is not None else "the folder's name "
        remedy = "give" if choices.name is not None else "give --name, of"
        raise RecipeError(
            f"import: {what}{shown(name)} cannot name a release: {remedy} up to {NAME_LENGTH} letters, digits and "
            ". _ -, the first of them a letter, a digit or _"
        )
    return name


def check_out(folder: Path, out: Path) -> None:
    """RecipeError for a folder that cannot be made, StorageError for a disk that cannot be written."""
    if present(out):
        raise RecipeError(f"import: --out {out} exists: choose a new folder")
    if resolved(folder) in (resolved(out), *resolved(out).parents):
        raise RecipeError(f"import: --out {out} lies inside {folder}: choose a folder outside of it")
    place = _place(out)
    if not place.is_dir():
        raise RecipeError(f"import: --out {out} lies below {place}, which is a file: choose another folder")
    try:
        Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=place)).rmdir()
    except OSError as error:
        if error.errno in FULL:
            raise StorageError(f"storage: cannot write {out}: {error.strerror}; choose another folder") from None
        raise RecipeError(
            f"import: --out {out}: no folder can be made in {place} ({error.strerror}): choose another"
        ) from None


def check_space(folder: Path, out: Path, needed: int) -> None:
    """StorageError, before anything is written, if the disk is too small."""
    # Hard links need the same file system.
    link = ", or give --link" if _place(out).stat().st_dev == folder.stat().st_dev else ""
    check_room(out, needed, otherwise=link)


def _place(out: Path) -> Path:
    """The nearest thing above `out` that exists."""
    return next(path for path in out.absolute().parents if present(path))
