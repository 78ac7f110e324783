"""The files of an imported release, copied or linked, and hashed while they are read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from talkies.checkpoints.manifest import Table
from talkies.checkpoints.release import CODECS, ORIGIN
from talkies.checkpoints.released import shard_names
from talkies.files.tensors import without_pickles
from talkies.streams.layout import CONFIG, by_folder
from talkies.weights.account import Account
from talkies.weights.found import index_of
from talkies.weights.hashed import Placed, at_once, placed, written
from talkies.weights.recognition import Recognised
from talkies.weights.shards import shard_name


@dataclass(frozen=True, kw_only=True)
class Copied:
    """The records of the components, the table of all files, and how many of them were linked and copied."""

    components: dict[str, dict[str, Any]]
    table: Table
    linked: int
    copied: int


def codec_files(known: Recognised, parts: Iterable[str]) -> dict[str, Path]:
    """Path in the release -> the file of a pretrained codec, of these `parts`. Pickles beside its safetensors stay
    behind."""
    found = {}
    for part in parts:
        for below, folder in known.layout.codecs[part].folders.items():
            source = known.folder / folder
            for path in without_pickles(source):
                name = "/".join(filter(None, (CODECS, part, below, path.relative_to(source).as_posix())))
                found[name] = path
    return found


def origin_files(known: Recognised, accounts: Mapping[str, Account]) -> dict[str, Path]:
    """Path in the release -> a small file of the folder, which is kept as it is: of the indexes, those that an export
    writes, too, with all their tensors in files of the layout's names."""
    names = [*known.files]
    for folder, inside in by_folder({name: known.layout.components[name] for name in known.configs}).items():
        names.append(f"{folder}/{CONFIG}")
        own, stem = [accounts[component] for component in inside], next(iter(inside.values())).stem
        files = sorted({kept.found.path.name for one in own for kept in one.kept})
        usual = [shard_name(stem, number, len(files)) for number in range(1, len(files) + 1)]
        fits = files == usual and not any(one.dropped for one in own)
        if fits and index_of(known.folder / folder, stem).is_file():
            names.append(f"{folder}/{index_of(Path(), stem).name}")
    return {f"{ORIGIN}/{name}": known.folder / name for name in names}


def copy_all(work: Path, accounts: Mapping[str, Account], files: Mapping[str, Path], *, link: bool) -> Copied:
    """Fill the folder `work` with the components and the other `files`."""
    components: dict[str, dict[str, Any]] = {}
    jobs: dict[str, Callable[[Event], Placed]] = {}
    for component, one in accounts.items():
        names = _names(component, one)
        jobs |= {n: partial(written, kept, work / n, link=link) for n, kept in zip(names, one.kept, strict=True)}
        held = {"file": names[0]} if names == [f"{component}.safetensors"] else {"shards": names}
        components[component] = {**held, "parameters": one.parameters}
    for name, path in files.items():
        # Small files may be edited in place, which would damage the release.
        jobs[name] = partial(placed, path, work / name, link=link and path.suffix == ".safetensors")
    found = at_once(jobs)
    table = {name: entry for name, (entry, _) in found.items()}
    linked = sum(is_linked for _, is_linked in found.values())
    return Copied(components=components, table=table, linked=linked, copied=len(table) - linked)


def _names(component: str, one: Account) -> list[str]:
    """Of its files: one without a number, or shards."""
    single = len(one.kept) == 1 and "-of-" not in one.kept[0].found.path.name
    return [f"{component}.safetensors"] if single else shard_names(component, len(one.kept))
