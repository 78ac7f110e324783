"""Which layout a folder has, and which components are in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkies.config import CheckpointError, RecipeError
from talkies.config.decode import one_of
from talkies.config.quoting import listed, named, shown
from talkies.config.records import present
from talkies.streams.layout import CONFIG, Layout, by_folder
from talkies.streams.system import System
from talkies.weights.found import json_of

DEMIXER, DEMIXER_SUFFIX = "htdemucs", ".th"
"""The layout of a demixer's checkpoints, which is no system's, and the suffix of their names."""


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """A folder of `layout`, called `name`, of `system`: config.json by component and by codec, and the content of the
    layout's small files that are there."""

    folder: Path
    system: System
    name: str
    layout: Layout
    configs: Mapping[str, Mapping[str, Any]]
    codecs: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, Mapping[str, Any]]


def recognised(folder: Path, systems: Sequence[System], wanted: str | None = None) -> Recognised:
    """The layout of `folder`: the one most of whose components are in it, or `wanted`. RecipeError for an unknown
    layout; CheckpointError for a folder of none, or of other networks."""
    if not folder.is_dir():
        raise CheckpointError(f"import: {folder} is not a folder: give one of released weights, as it was downloaded")
    if present(folder / "release.json"):
        raise CheckpointError(f"import: {folder} is a release already: take it as it is")
    layouts = {name: (system, layout) for system in systems for name, layout in system.layouts.items()}
    if not layouts:
        known = listed([system.kind for system in systems])
        raise RecipeError(f"import: talkies knows no released folders of {known}")
    if wanted is not None and wanted not in layouts:
        raise RecipeError(f"import: --as {shown(wanted)} is not a layout{one_of(wanted, [*layouts, DEMIXER])}")
    counts = {name: _count(folder, layout) for name, (_, layout) in layouts.items()}
    name = max(counts, key=lambda one: counts[one]) if wanted is None else wanted
    if not any(counts[name]):
        known = "; ".join(
            f"{one}: {', '.join(by_folder(layout.components))}"
            for one, (_, layout) in layouts.items()
            if wanted in (None, one)
        )
        demixer = (
            f"; for *{DEMIXER_SUFFIX} of a demixer give --as {DEMIXER}"
            if any(folder.glob(f"*{DEMIXER_SUFFIX}"))
            else ""
        )
        raise CheckpointError(
            f"import: {folder} has no component of a known layout; needed are the folders of {known}{demixer}"
        )
    return _read(folder, name, *layouts[name])


def layout_of(folder: Path, systems: Sequence[System]) -> str | None:
    """The layout most of whose components `folder` has, with their config.json; None if it has none of any."""
    layouts = {name: layout for system in systems for name, layout in system.layouts.items()}
    name = max(layouts, key=lambda one: _count(folder, layouts[one]), default="")
    held = layouts[name].components.values() if layouts else ()
    return name if any(present(folder / one.folder / CONFIG) for one in held) else None


def _count(folder: Path, layout: Layout) -> tuple[int, int]:
    """How many folders of the layout's components there are, and how many of them say that they are theirs."""
    inside = [(folder / one, next(iter(held.values()))) for one, held in by_folder(layout.components).items()]
    there = [(path, held) for path, held in inside if path.is_dir()]
    return len(there), sum(_class_of(path / CONFIG) in held.classes for path, held in there)


def _class_of(path: Path) -> object:
    """What config.json names; None if it cannot be read, which is said where it must be."""
    try:
        return json_of(path).get("_class_name")
    except CheckpointError:
        return None


def _components(folder: Path, layout: Layout) -> list[str]:
    return [name for name, held in layout.components.items() if (folder / held.folder).is_dir()]


def _read(folder: Path, name: str, system: System, layout: Layout) -> Recognised:
    configs = {component: _config(folder, layout, component) for component in _components(folder, layout)}
    codecs = {part: json_of(folder / first / CONFIG) for part, first in _held_codecs(folder, layout).items()}
    files = {file: json_of(folder / file) for file in layout.files if present(folder / file)}
    return Recognised(
        folder=folder, system=system, name=name, layout=layout, configs=configs, codecs=codecs, files=files
    )


def _config(folder: Path, layout: Layout, component: str) -> dict[str, Any]:
    """config.json of a component; CheckpointError if it is another network's."""
    held = layout.components[component]
    path = folder / held.folder / CONFIG
    values = json_of(path)
    found = values.get("_class_name")
    if found not in held.classes:
        raise CheckpointError(
            f"import: {path} names the class {shown(found)}, and here it must be {' or '.join(held.classes)}: this is "
            "the folder of another model"
        )
    return values


def _held_codecs(folder: Path, layout: Layout) -> dict[str, str]:
    """Part -> the folder with its config.json. CheckpointError for a part of which only some folders are there."""
    found = {}
    for part, held in layout.codecs.items():
        there = [path for path in held.folders.values() if (folder / path).is_dir()]
        if lacking := [path for path in held.folders.values() if there and path not in there]:
            raise CheckpointError(
                f"import: {folder} has {there[0]}/ and lacks {named(lacking[0])}/, which belongs to it"
            )
        if there:
            found[part] = there[0]
    return found
