"""A release written as a folder of a known layout: its components, their config.json files, codecs and schedule."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from talkies.checkpoints.release import ORIGIN, component_files, current_names
from talkies.config import RecipeError
from talkies.files.durable import check_room, storage_errors
from talkies.files.folders import replacing_folder
from talkies.runs.export_codecs import Files, codec_files
from talkies.runs.export_component import SHARD_SIZE, shards_of
from talkies.runs.export_source import Exported, chosen, layout_of
from talkies.streams.layout import CONFIG, Held, Layout, by_folder
from talkies.training.adapter import adapter_of
from talkies.training.adapter_layout import write_adapters
from talkies.training.merging import Merging
from talkies.weights.found import index_of, json_of
from talkies.weights.hashed import chunks_of
from talkies.weights.headers import read_header
from talkies.weights.pieces import Piece
from talkies.weights.shards import Shard, index_text

How = Literal["merge", "apart"] | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was written: bytes of weights, components, codecs; `left`: why a codec is not there, by part."""

    size: int
    components: Sequence[str]
    codecs: Sequence[str]
    left: dict[str, str]


def export_layout(
    exported: Exported,
    name: str,
    out: Path,
    *,
    components: Sequence[str] | None,
    how: How,
    shard_size: int | None,
    codecs: bool,
) -> Outcome:
    """Write `exported` to the new folder `out` in the layout `name`; one tensor is in memory at a time.

    What was imported from the same layout comes back byte for byte; anything else is divided into files of at most
    `shard_size` bytes (None: SHARD_SIZE). `how`: an adapter is merged into its base, or written apart from it. Raises
    RecipeError for options that do not fit, before weights are read; CheckpointError for a damaged release, DataError
    for a codec that is gone, StorageError on a full disk; `out` is then not made.
    """
    layout = layout_of(exported, name)
    _check_how(exported, how)
    names = chosen(exported, layout, name, components)
    same = exported.came_from(name)
    if same and shard_size is not None:
        raise RecipeError(
            f"export: --shard-size: {exported.whole} was imported from this layout, and goes out in the files that it "
            "came in: drop it"
        )
    exported.verify()
    merging = Merging(adapter=adapter_of(exported.release)) if exported.adapter else None
    if merging is not None:
        merging.check(_tensors(exported))
    folders = by_folder({component: layout.components[component] for component in names})
    shards = {
        folder: shards_of(
            exported.whole,
            held,
            merging=merging if how == "merge" else None,
            limit=None if same else shard_size or SHARD_SIZE,
            weight_map=_weight_map(exported, next(iter(held.values()))) if same else None,
        )
        for folder, held in folders.items()
    }
    files, left = codec_files(exported.recipe, layout, exported.info["codecs"]) if codecs else ({}, {})
    origin = _origin(exported, layout, names, how, codecs=codecs) if same else {}
    texts = _texts(exported, name, shards, files, names)
    small = {file: text.encode() for file, text in texts.items()} | origin
    size = sum(shard.size for part in shards.values() for shard in part)
    check_room(out, size + sum(path.stat().st_size for path in files.values()))
    with storage_errors(out, size), replacing_folder(out) as work:
        for file, data in small.items():
            (work / file).parent.mkdir(parents=True, exist_ok=True)
            (work / file).write_bytes(data)
        for folder, part in shards.items():
            for shard in part:
                shard.write(work / folder)
        for file, path in files.items():
            (work / file).parent.mkdir(parents=True, exist_ok=True)
            _copy(path, work / file)
        if how == "apart" and merging is not None:
            write_adapters(merging.adapter, work / "adapter", {part: layout.components[part] for part in names})
    there = sorted({part for part in layout.codecs if part in exported.recipe.codecs and part not in left})
    return Outcome(size=size, components=names, codecs=there if codecs else [], left=left)


def _check_how(exported: Exported, how: How) -> None:
    if exported.adapter and how is None:
        raise RecipeError(
            f"export: {exported.release} is an adapter over {exported.whole}: add --merge (one set of weights) or "
            "--apart (the base, and the adapter beside it)"
        )
    if how is not None and not exported.adapter:
        raise RecipeError(f"export: --{how} is for an adapter, and {exported.release} holds whole weights: drop it")


def _tensors(exported: Exported) -> dict[str, Piece]:
    """Every tensor of the base by its path in the network."""
    found: dict[str, Piece] = {}
    for component in exported.held["components"]:
        rename = current_names(exported.whole, component)
        for path in component_files(exported.whole, component):
            pieces = read_header(path).pieces
            found |= {f"{component}.{rename(name)}": piece for name, piece in pieces.items()}
    return found


def _copy(path: Path, new: Path) -> None:
    with new.open("xb") as file:
        for chunk in chunks_of(path):
            file.write(chunk)


def _weight_map(exported: Exported, held: Held) -> Mapping[str, str] | None:
    """Of the index that was imported with a folder, if there is one."""
    name = f"{ORIGIN}/{held.folder}/{index_of(Path(), held.stem).name}"
    if name not in exported.held["files"]:
        return None
    found: Mapping[str, str] = json_of(exported.whole / name)["weight_map"]
    return found


def _texts(
    exported: Exported, name: str, shards: dict[str, list[Shard]], codecs: Files, components: Sequence[str]
) -> dict[str, str]:
    """The small files by their path in the layout `name`, made from the sizes and the schedule."""
    recipe, layout = exported.recipe, layout_of(exported, name)
    found = {}
    try:
        for component in components:
            held = layout.components[component]
            found[f"{held.folder}/{CONFIG}"] = _spelled(layout.config(component, recipe.model))
            if len(shards[held.folder]) > 1:
                found[f"{held.folder}/{index_of(Path(), held.stem).name}"] = index_text(shards[held.folder])
        written = layout.written(recipe.model, components, recipe.sampling, recipe.flow)
    except ValueError as error:
        raise RecipeError(f"export: a {name} folder cannot say what {exported.release} is: {error}") from None
    folders = (
        {*shards} | {file.split("/")[0] for file in codecs} | {file.split("/")[0] for file in written if "/" in file}
    )
    return found | {file: _spelled(_there(values, folders)) for file, values in written.items()}


def _there(values: dict[str, Any], folders: Collection[str]) -> dict[str, Any]:
    """`values` of an index without the parts, [library, class], that have no folder here; [null, null] says so."""
    return {
        key: value for key, value in values.items() if not isinstance(value, list) or key in folders or value[0] is None
    }


def _origin(exported: Exported, layout: Layout, names: Sequence[str], how: How, *, codecs: bool) -> dict[str, bytes]:
    """The small files as they were imported: those of the components, the schedule unless an adapter brings its own,
    and what is about the whole folder if all of it comes back."""
    left = {held.folder for component, held in layout.components.items() if component not in names}
    whole = codecs and set(names) == set(exported.held["components"])
    found = {}
    for path in (PurePosixPath(name) for name in sorted(exported.held["files"])):
        if not path.is_relative_to(ORIGIN):
            continue
        file = path.relative_to(ORIGIN).as_posix()
        kept = how != "merge" and (whole or "/" in file) if file in layout.files else file.split("/")[0] not in left
        if kept:
            found[file] = (exported.whole / path).read_bytes()
    return found


def _spelled(values: Any) -> str:
    return json.dumps(values, indent=2, sort_keys=True) + "\n"
