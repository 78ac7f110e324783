"""manifest.json: the sha256 and size of every file of a folder. Written last: a folder without it is incomplete."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Field

from talkies.checkpoints.names import NamesSchema, newest
from talkies.checkpoints.rank_group import RankGroup
from talkies.config import CheckpointError
from talkies.config.numbers import Natural
from talkies.config.plain_json import canonical_json, json_sha256
from talkies.config.quoting import shown
from talkies.config.records import Kind, Name, Sha256, present, record
from talkies.files.durable import write_text
from talkies.files.integrity import damage, sha256_of

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A decoded manifest: `files` maps a relative path to its (sha256, size); `sha256` is one hash over everything."""

    step: int
    files: dict[str, tuple[str, int]]
    sha256: str
    names_schema: int


@record
class FileRecord:
    """The sha256 and size that a file must have."""

    sha256: Sha256
    size: Natural


@record
class ManifestRecord:
    """manifest.json."""

    schema: Annotated[int, Field(ge=1, le=1)]
    names_schema: NamesSchema = 1
    step: Natural
    files: dict[Name, FileRecord]
    sha256: Sha256


RECORD = Kind(
    holds=ManifestRecord,
    about="checkpoint",
    remedy="restore it from a copy",
    error=CheckpointError,
    limit=1 << 28,
)

Table = dict[str, dict[str, Any]]
"""Relative path -> {"sha256", "size"}."""


def file_table(folder: Path, *, share: tuple[int, int] = (0, 1), known: Table | None = None) -> Table:
    """The files in `folder`, hashed unless they are `known`. With `share` (k, n): every n-th file from the k-th on."""
    known, (first, every) = known or {}, share
    paths = sorted(path for path in folder.rglob("*") if path.is_file())[first::every]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {n: known.get(n) or {"sha256": sha256_of(p), "size": p.stat().st_size} for n, p in names.items()}


def write_manifest(folder: Path, step: int, known: Table | None = None) -> None:
    """Complete `folder`: hash all files that are not `known`, and write the manifest."""
    schemas = {"schema": RECORD.newest, "names_schema": newest()}
    values = {**schemas, "step": step, "files": file_table(folder, known=known)}
    write_text(folder / MANIFEST, canonical_json({**values, "sha256": json_sha256(values)}) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Decode folder/manifest.json. Raises CheckpointError if it is missing, damaged or of an unknown schema."""
    path = folder / MANIFEST
    if not present(path):
        raise CheckpointError(f"checkpoint: {folder} is incomplete: it has no {MANIFEST}, its completion marker")
    known, data = RECORD.read_with(path)
    values = json.loads(data)
    found, sha256 = json_sha256({key: value for key, value in values.items() if key != "sha256"}), known.sha256
    if found != sha256:
        raise RECORD.damaged(path, f"found sha256 {found[:16]}, expected {sha256[:16]}")
    for name in known.files:
        check_inside(folder, name)
    files = {name: (entry.sha256, entry.size) for name, entry in known.files.items()}
    return Manifest(step=known.step, files=files, sha256=sha256, names_schema=known.names_schema)


def check_inside(folder: Path, name: str) -> None:
    """Raise CheckpointError if `name` is not a relative path below `folder`."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise CheckpointError(f"checkpoint: {folder} names a file outside itself: {shown(name)}")


def verify(folder: Path, names: Collection[str] | None = None) -> Manifest:
    """Check the files of a manifest (`names`, default all) against the disk.

    Raises CheckpointError for the first file that is missing, truncated or changed, or that the manifest does not list.
    """
    manifest = read_manifest(folder)
    for name in manifest.files if names is None else names:
        if name not in manifest.files:
            raise CheckpointError(f"checkpoint: {folder} has no {name}: its manifest does not list it")
        sha256, size = manifest.files[name]
        wrong = damage(folder / name, size=size, sha256=sha256)
        if wrong is not None:
            raise CheckpointError(f"checkpoint: {folder / name} {wrong}")
    return manifest


def find_damage(folder: Path, ranks: RankGroup) -> str | None:
    """The message of `verify`'s error, None if the folder is sound; each process of `ranks` hashes its share of
    the bytes. All return the same: of several damaged files the manifest's first is named."""
    first_damaged: tuple[int, str] | None = None
    try:
        files = read_manifest(folder).files
    except CheckpointError as error:
        first_damaged, files = (-1, str(error)), {}
    first, every = ranks.place
    share = set(sorted(files, key=lambda name: (-files[name][1], name))[first::every])
    for number, name in enumerate(files):
        wrong = damage(folder / name, size=files[name][1], sha256=files[name][0]) if name in share else None
        if wrong is not None:
            first_damaged = (number, f"checkpoint: {folder / name} {wrong}")
            break
    complaints = [one for one in ranks.gather(first_damaged) if one is not None]
    return min(complaints)[1] if complaints else None
