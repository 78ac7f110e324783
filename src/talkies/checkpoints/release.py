"""A release: what a phase gives to later phases, to samplers and to the registry. Safetensors and JSON, all hashed.

release.json                      what it is, and the sha256 and size of every other file; written last
<component>.safetensors           a part of the network, under upstream's keys; if it was imported, perhaps in shards
adapter/adapter_model.safetensors, adapter/adapter_config.json    a LoRA, in PEFT's format
codecs/{video,audio,text}/...     fitted codecs that it was trained with, or the pretrained ones of an import
origin/...                        small files of the folder that it was imported from, as they were
places.json                       where its base and its pretrained codecs were; excluded from the hash
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from talkies.checkpoints import spans
from talkies.checkpoints.manifest import Table, check_inside, file_table
from talkies.checkpoints.names import newest, renamed
from talkies.checkpoints.places import PLACES, places_text
from talkies.checkpoints.rank_group import Alone, RankGroup
from talkies.checkpoints.released import ADAPTER, ADAPTER_CONFIG, RECORD, files_of
from talkies.checkpoints.spans import StateTensor
from talkies.checkpoints.weights import open_weights, read_weights, refuse_pickle
from talkies.config import CheckpointError
from talkies.config.records import present
from talkies.files.durable import fsync_tree, storage_errors, write_text
from talkies.files.folders import swap
from talkies.files.integrity import damage, sha256_of
from talkies.files.tensors import stream_tensors

RELEASE = "release.json"
CODECS = "codecs"
ORIGIN = "origin"
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_ZERO_FILE = re.compile(r"zero_pp_rank_(\d+)_mp_rank")
_OWN_KEYS = {"schema", "names_schema", "components", "files", "base", "adapter"}


def write_release(
    folder: Path,
    *,
    components: Mapping[str, Mapping[str, StateTensor]],
    info: Mapping[str, Any],
    codecs_folder: Path | None = None,
    adapter: tuple[Mapping[str, StateTensor], str] | None = None,
    base: Mapping[str, Any] | None = None,
    weights: Mapping[str, str] | None = None,
    whole: Callable[[StateTensor], Tensor] = spans.whole,
    ranks: RankGroup | None = None,
) -> None:
    """Make or replace the release `folder`: it is filled under a temporary name beside it, then renamed.

    Every process of `ranks` calls it; `whole` gathers the tensors one at a time (each process may hold a part),
    and the main process writes.

    `info` (plain JSON: name, recipe, lineage, metrics, provenance) becomes the top level of release.json; `adapter` is
    (tensors, adapter_config.json) of a LoRA over `base` {"sha256", "path", "name"}; `codecs_folder` is copied if it
    exists (pretrained codecs leave none); `weights`: folders of pretrained codecs by part. Paths are written to
    places.json. Raises StorageError if the disk is full, CheckpointError if `folder` is something else or the codecs
    contain a pickle.
    """
    clash = _OWN_KEYS & info.keys()
    assert not clash, f"release.json has its own {clash}"
    assert (adapter is None) == (base is None), "an adapter names its base, and nothing else has a base"
    if folder.exists() and not (folder / RELEASE).is_file():
        raise CheckpointError(f"release: {folder} exists and is not a release: remove it")
    ranks = ranks or Alone()
    temporary = folder.with_name(folder.name + ".tmp")
    main = ranks.main

    def complete() -> None:
        schemas = {"schema": RECORD.newest, "names_schema": newest()}
        content = {"components": _table(temporary, components), "files": file_table(temporary)}
        values = {**info, **schemas, **content, "base": _without_path(base), "adapter": adapter is not None}
        write_text(temporary / RELEASE, json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n")
        if base is not None or weights:
            path = None if base is None else Path(base["path"])
            write_text(temporary / PLACES, places_text(folder, path, weights or {}))
        fsync_tree(temporary)

    try:
        with storage_errors(folder, _size(components, adapter)):
            ranks.agree(_begin if main else None, temporary, codecs_folder)
            ranks.agree(_fill, temporary if main else None, components, adapter, whole)
            ranks.agree(complete if main else None)
        ranks.agree(swap if main else None, temporary, folder, folder.with_name(folder.name + ".old.tmp"))
    except BaseException:
        if main:
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def _without_path(base: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if base is None else {key: value for key, value in base.items() if key != "path"}


def _size(
    components: Mapping[str, Mapping[str, StateTensor]], adapter: tuple[Mapping[str, StateTensor], str] | None
) -> int:
    parts = [*components.values(), *([adapter[0]] if adapter else [])]
    return sum(tensor.nbytes for tensors in parts for tensor in tensors.values())


def _begin(folder: Path, codecs: Path | None) -> None:
    """Make an empty `folder` and copy the codecs into it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if codecs is not None and codecs.is_dir():
        for path in codecs.rglob("*"):
            refuse_pickle(path)
        shutil.copytree(codecs, folder / CODECS)


def _fill(
    folder: Path | None,
    components: Mapping[str, Mapping[str, StateTensor]],
    adapter: tuple[Mapping[str, StateTensor], str] | None,
    whole: Callable[[StateTensor], Tensor],
) -> None:
    """Write the weights; a process without a `folder` only helps to gather them."""
    for name, tensors in components.items():
        stream_tensors(None if folder is None else folder / f"{name}.safetensors", tensors, whole)
    if adapter is not None:
        if folder is not None:
            (folder / ADAPTER).parent.mkdir()
            write_text(folder / ADAPTER_CONFIG, adapter[1])
        stream_tensors(None if folder is None else folder / ADAPTER, adapter[0], whole)


def _table(folder: Path, components: Mapping[str, Mapping[str, StateTensor]]) -> dict[str, dict[str, Any]]:
    table = {}
    for name, tensors in components.items():
        path = folder / f"{name}.safetensors"
        table[name] = {
            "file": path.name,
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
            "parameters": sum(tensor.shape.numel() for tensor in tensors.values()),
        }
    return table


def complete_release(folder: Path, *, components: Mapping[str, Any], info: Mapping[str, Any], known: Table) -> None:
    """Write release.json of a `folder` that holds all its other files. `components`: values of their records; `known`:
    the files that were hashed while they were written."""
    schemas = {"schema": RECORD.newest, "names_schema": newest(), "base": None, "adapter": False}
    values = {**info, **schemas, "components": dict(components), "files": file_table(folder, known=known)}
    write_text(folder / RELEASE, json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_release(folder: Path, *, verify: bool = True) -> dict[str, Any]:
    """The content of release.json, after every file was verified by size and sha256 (without `verify` another process
    does that).

    Raises CheckpointError for a missing or damaged file, a codec's file that is not listed, or a pickle in the folder.
    """
    values = _read(folder)
    codec_files = (path.relative_to(folder).as_posix() for path in (folder / CODECS).rglob("*") if path.is_file())
    for name in codec_files:
        if name not in values["files"]:
            raise CheckpointError(f"release: {folder / RELEASE} does not list {name}: restore the release from a copy")
    for name in values["files"] if verify else ():
        _verify(folder, values, name)
    for path in folder.rglob("*"):
        refuse_pickle(path)
    return values


def release_sha256(folder: Path) -> str:
    """The hash of the release: the sha256 of release.json, which holds those of all other files."""
    _read(folder)
    return sha256_of(folder / RELEASE)


def names_schema(folder: Path) -> int:
    """The schema of the tensors' names in a release."""
    return RECORD.read(folder / RELEASE).names_schema


def load_component(folder: Path, component: str) -> dict[str, Tensor]:
    """The verified weights of one component. Raises CheckpointError if it is missing or damaged."""
    values = _read(folder)
    path = _current_path(component, values, folder)
    found: dict[str, Tensor] = {}
    for name in _files(folder, values, component):
        _verify(folder, values, name)
        found |= {path(key): tensor for key, tensor in read_weights(folder / name).items()}
    return found


def component_files(folder: Path, component: str) -> list[Path]:
    """The files of a component, in order. CheckpointError if it is missing."""
    return [folder / name for name in _files(folder, _read(folder), component)]


def current_names(folder: Path, component: str) -> Callable[[str], str]:
    """A function from the keys of a component's files to the current paths of its parameters below the component."""
    return _current_path(component, _read(folder), folder)


def _files(folder: Path, values: Mapping[str, Any], component: str) -> list[str]:
    if component not in values["components"]:
        others = ", ".join(sorted(values["components"])) or "none"
        raise CheckpointError(f"release: {folder} has no {component}, only {others}")
    return files_of(values["components"][component])


def _current_path(component: str, values: Mapping[str, Any], folder: Path) -> Callable[[str], str]:
    before = _SHARD.sub("", _files(folder, values, component)[0].removesuffix(".safetensors"))
    schema = int(values.get("names_schema", 1))
    return lambda key: renamed(f"{before}.{key}", schema).removeprefix(f"{component}.")


def open_component(folder: Path, component: str) -> Iterator[tuple[str, tuple[int, ...], Callable[[int, int], Tensor]]]:
    """(name, shape, read) of every tensor of a component; `read(first, last)` reads only these rows.

    Nothing is hashed again: `read_release` has verified the files, in this process or another. Raises CheckpointError
    if the component is missing.
    """
    values = _read(folder)
    path = _current_path(component, values, folder)
    for name in _files(folder, values, component):
        for key, shape, read in open_weights(folder / name):
            yield path(key), shape, read


def _verify(folder: Path, values: Mapping[str, Any], name: str) -> None:
    check_inside(folder, name)
    entry = values["files"].get(name)
    if entry is None:
        raise CheckpointError(f"release: {folder / RELEASE} does not list {name}")
    wrong = damage(folder / name, size=entry["size"], sha256=entry["sha256"])
    if wrong is not None:
        raise CheckpointError(f"release: {folder / name} {wrong}")


def _read(folder: Path) -> dict[str, Any]:
    path = folder / RELEASE
    if not present(path):
        _refuse_deepspeed(folder)
        raise CheckpointError(f"release: {folder} is not a release: it has no {RELEASE}")
    return RECORD.read_values(path)


def _refuse_deepspeed(folder: Path) -> None:
    """Raise CheckpointError for a folder written by DeepSpeed itself, naming its number of ranks and a converter."""
    ranks = {match[1] for path in folder.rglob("*_optim_states.pt") if (match := _ZERO_FILE.search(path.name))}
    if ranks:
        raise CheckpointError(
            f"release: {folder} is a checkpoint of DeepSpeed's own, pickled by {len(ranks)} ranks and readable by as "
            f"many: python {folder}/zero_to_fp32.py {folder} OUT --safe_serialization converts it to safetensors; runs "
            "of talkies keep theirs in checkpoints/, which any layout reads"
        )
