"""A recipe file, the files that it extends and the overrides, merged into plain values with their origins."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkies.config.errors import RecipeError
from talkies.config.merge import leaves, merge, override, resolve
from talkies.config.migrations import NEWEST, SCHEMA, migrated
from talkies.config.parse import parse
from talkies.config.quoting import listed, named, one_line, shown
from talkies.config.regular_files import present, regular_bytes, resolved
from talkies.config.single_line import plain

MAX_EXTENDS = 2
LIMIT = 1 << 20
"""The most bytes of a recipe."""


@dataclass(frozen=True, kw_only=True)
class LoadedRecipe:
    """The merged `values` of files and overrides; `origins`: key path -> 'file:line' or 'override'; `extends`: `file`
    extends another one."""

    file: Path
    values: dict[str, Any]
    origins: dict[str, str]
    extends: bool = False


def load(path: str | Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read `path`, the files that it extends (relative paths, at most two deep) and `key.path=value` overrides.

    Raises RecipeError, with file and line, for anything that cannot be read, merged or interpolated.
    """
    source = unresolved(path)
    values, origins = source.values, dict(source.origins)
    for key, value in _overrides(overrides):
        values = override(values, origins, key, value)
    values = resolve(values, origins)
    return LoadedRecipe(file=source.file, values=values, origins=_complete(values, origins), extends=source.extends)


def unresolved(path: str | Path) -> LoadedRecipe:
    """`path` and the files that it extends, with ??? and ${key.path} unresolved: enough to see the recipe's kind."""
    file = Path(path)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    layers = _layers(file, [])
    _check_schemas(layers)
    for layer in layers:
        values = merge(values, layer.values)
        origins |= layer.origins
    return LoadedRecipe(file=file, values=_newest(values, origins), origins=origins, extends=len(layers) > 1)


def _check_schemas(layers: Sequence[LoadedRecipe]) -> None:
    """RecipeError if a file and one that it extends are of different schemas. A part of a recipe cannot be migrated: a
    default that has changed must be written only if no file sets the key."""
    schemas = [layer.values.get(SCHEMA, NEWEST) for layer in layers]
    for layer, schema in zip(layers, schemas, strict=True):
        if schema != schemas[-1]:
            stated = [f"`{SCHEMA}` {shown(found)}" for found in (schemas[-1], schema)]
            raise RecipeError(
                f"recipe: {displayed(layers[-1].file)} is of {stated[0]}, and {displayed(layer.file)}, which it "
                f"extends, of {stated[1]} ({NEWEST} if a file states none): write both in one schema"
            )


def _newest(values: dict[str, Any], origins: dict[str, str]) -> dict[str, Any]:
    """The values of a recipe and of the files that it extends, in the newest schema; `schema` names an older one.
    Overrides are applied later: they use the newest schema."""
    if SCHEMA not in values:
        return values
    place = origins.pop(SCHEMA)
    try:
        found = migrated(values)
    except RecipeError as error:
        raise RecipeError(f"{error} ({place})") from None
    for path, _ in leaves(found):  # what a migration moved has the place of what is above it, or of the schema
        origins.setdefault(path, origins.get(path.rpartition(".")[0], place))
    return found


def _layers(file: Path, trail: list[Path]) -> list[LoadedRecipe]:
    """The files to merge, the most general first. `trail`: the files that led here through `extends`."""
    name = displayed(file)
    values, origins = parse(_read(file), name)
    if not isinstance(values, dict):
        found = "is empty" if values is None else f"holds {_what(values)}"
        raise RecipeError(f"recipe: {name} {found}; a recipe is a mapping of keys, `kind: phase` for one")
    if "extends" not in values:
        return [LoadedRecipe(file=file, values=values, origins=origins)]
    parent, place = values.pop("extends"), origins.pop("extends")
    if not isinstance(parent, str) or Path(parent).is_absolute() or not plain(parent):
        raise RecipeError(f"recipe: `extends` must be a path relative to the file, got {shown(parent)} at {place}")
    target = file.parent / parent
    trail = [*trail, resolved(file)]
    if resolved(target) in trail:
        raise RecipeError(f"recipe: `extends` is circular: {place} leads back to {displayed(target)}")
    if len(trail) > MAX_EXTENDS:
        raise RecipeError(f"recipe: `extends` at {place} is more than {MAX_EXTENDS} deep; merge {name} into its parent")
    if not present(target) or target.is_dir():
        raise RecipeError(f"recipe: {place} extends {named(parent)}: {_missing(target)}")
    return [*_layers(target, trail), LoadedRecipe(file=file, values=values, origins=origins)]


def _read(file: Path) -> str:
    if not present(file) or file.is_dir():
        raise RecipeError(f"recipe: {_missing(file)}")
    try:
        return regular_bytes(file, LIMIT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        found = f"byte 0x{error.object[error.start]:02x}"
        raise RecipeError(f"recipe: {displayed(file)}:{line} is not UTF-8 ({found}); save the file as UTF-8") from error
    except OSError as error:
        raise RecipeError(f"recipe: {displayed(file)} cannot be read: {error.strerror}") from error


def _missing(file: Path) -> str:
    """Why `file` cannot be found, with the nearest existing name."""
    if file.is_dir():
        names = sorted(p.name for p in file.glob("*.yaml"))
        return f"{displayed(file)} is a folder, not a recipe" + (f"; it holds {listed(names)}" if names else "")
    wanted, parent = file, file.parent
    while not parent.is_dir():
        wanted, parent = parent, parent.parent
    folder = wanted != file
    names = sorted(p.name for p in parent.iterdir() if (p.is_dir() if folder else p.suffix in {".yaml", ".yml"}))
    near = difflib.get_close_matches(wanted.name, names, 1, 0.5) or difflib.get_close_matches(
        f"{wanted.name}.yaml", names, 1
    )
    what = "no folder" if folder else "no file"
    return f"{what} {displayed(wanted)}" + (f"; nearest: {displayed(parent / near[0])}" if near else "")


def _overrides(items: Sequence[str]) -> list[tuple[str, Any]]:
    """`key.path=value` -> (key path, value parsed as YAML)."""
    parsed: dict[str, tuple[str, Any]] = {}
    for item in items:
        key, sign, text = item.partition("=")
        if not sign or not key or not all(part and part == part.strip() for part in key.split(".")):
            raise RecipeError(f"recipe: override {shown(item)} must be key.path=value")
        if not text.strip():
            raise RecipeError(f"recipe: override `{named(key)}` has no value; write {named(key)}=null for none")
        if key in parsed:
            raise RecipeError(
                f"recipe: override `{named(key)}` is given twice: {shown(parsed[key][0])} and {shown(item)}"
            )
        parsed[key] = (item, parse(text, f"override {shown(item)}", key=key)[0])
    return [(key, value) for key, (_, value) in parsed.items()]


def _complete(values: dict[str, Any], origins: dict[str, str]) -> dict[str, str]:
    """The origins of exactly the keys in `values`; keys that an interpolation added have the origin of their parent."""
    complete: dict[str, str] = {}
    for path, _ in leaves(values):
        parent = path.rpartition(".")[0]
        complete[path] = origins.get(path) or complete.get(parent, "override")
    return complete


def displayed(file: Path) -> str:
    """`file` as a message shows it: relative to the working directory if it lies inside."""
    try:
        return one_line(str(resolved(file).relative_to(Path.cwd())))
    except ValueError:
        return one_line(str(file))


def _what(value: Any) -> str:
    """The type of a document that is not a mapping; its content is not quoted, because it is not a recipe."""
    if isinstance(value, str | list):
        return "text" if isinstance(value, str) else f"a list of {len(value)}"
    return "a number, true or false"
