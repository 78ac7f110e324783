"""The record of a run's data in its folder: enough to make a release of a checkpoint after the data are gone.

RUN/inputs.json    the sets, their geometry and the identities of their codecs, as release.json has them
RUN/codecs/        the fitted codecs that its releases carry
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from talkies.checkpoints.released import SetsRecord
from talkies.codecs.config import fitted_names
from talkies.codecs.fitted import fitted_identity
from talkies.config import CheckpointError, DataError, UserError
from talkies.config.places import looked_for
from talkies.config.quoting import shown
from talkies.config.records import Kind, Name, present, record
from talkies.data.index import Index, read_index
from talkies.data.records import GridRecord, check_encoded
from talkies.files.durable import fsync_tree, storage_errors, write_json
from talkies.recipe.config import PhaseRecipe
from talkies.runs.place import Place
from talkies.runs.release_codecs import carried

FILE = "inputs.json"
CODECS = "codecs"


@record
class Facts:
    """`data`: as in release.json; `codecs`: part -> identity of the codec that encoded the data; `carried`: part ->
    identity of the fitted codec in RUN/codecs."""

    data: SetsRecord
    codecs: dict[str, Name]
    carried: dict[str, Name]

    def __post_init__(self) -> None:
        check_encoded(self.data.made_by, self.codecs)


FACTS = Kind(
    holds=Facts,
    about="run",
    remedy="restore it from a copy, or remove it, to look at the prepared data again",
    error=CheckpointError,
)


def facts_of(recipe: PhaseRecipe, shards: Index, heldout: Index, codecs: Mapping[str, str]) -> Facts:
    """The record of the sets that a phase trains on and is measured on; `codecs`: part -> identity of those carried."""
    data = SetsRecord(
        shards=recipe.data.shards,
        clips=len(shards.clips),
        fingerprint=shards.fingerprint,
        heldout_fingerprint=heldout.fingerprint,
        geometry=recipe.data.geometry,
        fps=shards.header["fps"],
        grids={name: GridRecord.of(entry.grid, entry.codec) for name, entry in shards.streams.items()},
        texts={name: entry.codec for name, entry in shards.texts.items()},
    )
    return Facts(data=data, codecs=dict(shards.header["codecs"]), carried=dict(codecs))


def record_inputs(folder: Path, recipe: PhaseRecipe, facts: Facts, data_root: Path) -> None:
    """Record a run's data, and copy the codecs that its releases carry; a damaged copy is made again. Raises
    StorageError on a full disk."""
    target = folder / CODECS
    known = FACTS.find(folder / FILE)
    if known == facts and _whole(recipe, facts, target):
        return
    temporary = folder / f".{CODECS}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    with storage_errors(folder, 0):
        temporary.mkdir(parents=True)
        for part in facts.carried:
            shutil.copytree(data_root / CODECS / part, temporary / part)
        fsync_tree(temporary)
        shutil.rmtree(target, ignore_errors=True)
        if facts.carried:
            temporary.rename(target)
        else:
            temporary.rmdir()
    write_json(folder / FILE, asdict(facts))


def _whole(recipe: PhaseRecipe, facts: Facts, folder: Path) -> bool:
    """Whether `folder` holds every carried codec, undamaged."""
    try:
        check_codecs_of(recipe, facts.carried, folder)
    except DataError:
        return False
    return True


def check_copies(recipe: PhaseRecipe, facts: Facts, run: Path) -> None:
    """DataError if a codec in RUN/codecs was lost or damaged since the run began: its release would lack it."""
    try:
        check_codecs_of(recipe, facts.carried, run / CODECS)
    except DataError as error:
        raise DataError(
            f"run: {run} has no release yet, because a codec that it carries was lost since the run began ({error}): "
            "repeat the same command, which copies the codec from the prepared data and trains nothing twice"
        ) from None


def find_codecs(recipe: PhaseRecipe, place: Place, data: Path | None = None) -> Path:
    """The folder with the fitted codecs of a run: its own copy, else that of `data`, else that of the run's data.

    Raises DataError, with the paths that were tried, if there is none.
    """
    root = data or place.data_root
    copy = place.folder / CODECS
    if copy.is_dir():
        return copy
    if fitted_names(recipe.codecs) and not (root / CODECS).is_dir():
        raise DataError(
            f"data: the codecs of {place.folder} are gone (looked for: {copy}; "
            f"{looked_for(root / CODECS, place.folder)}): put the data back, or give --data FOLDER"
        )
    return root / CODECS


def read_facts(recipe: PhaseRecipe, place: Place, data: Path | None = None) -> tuple[Facts, Path]:
    """The record of the data of the run at `place`, and the folder of its codecs, each read whole and checked. Shards
    are not opened. A run of an older version has no record: then the indices of its two sets are read.

    Raises DataError for what is missing or damaged, and for codecs that are not those of the run.
    """
    path = place.folder / FILE
    root = data or place.data_root
    codecs = find_codecs(recipe, place, data)
    if present(path):
        facts = FACTS.read(path)
    else:
        if not root.is_dir():
            raise DataError(
                f"data: {place.folder} has no {FILE}, and its data are gone (looked for: "
                f"{looked_for(root, place.folder)}): put them back, or give --data FOLDER"
            )
        shards, heldout = (read_index(root / "sets" / name) for name in (recipe.data.shards, recipe.data.heldout))
        facts = facts_of(recipe, shards, heldout, carried(recipe.codecs, root))
    check_codecs_of(recipe, facts.carried, codecs)
    return facts, codecs


def changed_since(recipe: PhaseRecipe, place: Place) -> str:
    """The message for a finished run whose data have changed since it was trained. Empty if they are the same, or
    cannot be read: a finished run no longer needs them."""
    try:
        known = FACTS.find(place.folder / FILE)
        if known is None:
            return ""
        sets = {recipe.data.shards: known.data.fingerprint, recipe.data.heldout: known.data.heldout_fingerprint}
        found = {name: read_index(place.data_root / "sets" / name) for name in sets}
    except UserError:
        return ""
    others = [name for name in sets if found[name].fingerprint != sets[name]]
    if not others:
        return ""
    now = " and ".join(f"{shown(name)} (now {len(found[name].clips)} clips)" for name in others)
    return (
        f"train: {place.folder} is finished, and its training data have changed since: {now} in {place.data_root}; "
        "nothing is trained, --new trains on what is there"
    )


def check_release(run: Path, recipe: PhaseRecipe, info: Mapping[str, Any]) -> None:
    """DataError if the release of `run` (`info`: its release.json) lacks a fitted codec that it should carry, or has
    another one."""
    known = FACTS.find(run / FILE)
    expected = {} if known is None else known.carried
    check_codecs_of(recipe, {**info["codecs"], **expected}, run / "release" / CODECS)


def check_codecs_of(recipe: PhaseRecipe, identities: Mapping[str, str], folder: Path) -> None:
    """DataError if a fitted codec in `folder` is missing, damaged, or not the one in `identities` (by part)."""
    for part in fitted_names(recipe.codecs):
        if part in identities:
            found = fitted_identity(recipe.codecs[part], folder / part)
            if found != identities[part]:
                raise DataError(
                    f"data: {folder / part} is {part} codec {found[:16]}, the run was trained with "
                    f"{identities[part][:16]}: put that one back"
                )
