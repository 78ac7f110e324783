"""The account of every tensor of a component: used, renamed, missing, left over."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import prod

from talkies.config import CheckpointError
from talkies.config.quoting import listed, shown
from talkies.streams.layout import Held
from talkies.weights.found import Found
from talkies.weights.shards import Shard

FLOATS = ("F32", "BF16", "F16")
"""The dtypes of weights that a network here can compute with."""
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A file of a component in the release: `found`, whose bytes stay as they are (`shard` is None), or `shard`, whose
    tensors are all the bytes of `found` from `begin` on (None: they are some of them, or not in such a file)."""

    found: Found
    shard: Shard | None
    begin: int | None = None


@dataclass(frozen=True, kw_only=True)
class Account:
    """What becomes of the tensors of a component."""

    kept: Sequence[Kept]
    parameters: int
    used: int
    renamed: int
    dropped: Collection[str]
    dtypes: Collection[str]

    def line(self, folder: str) -> str:
        """For the user."""
        parts = [f"{self.used} tensors used", f"{self.renamed} of them renamed" if self.renamed else ""]
        parts += ["none missing", f"{len(self.dropped)} left out" if self.dropped else "none left over"]
        said = ", ".join(part for part in parts if part)
        return f"{folder}: {said}; {self.parameters:,} parameters in {', '.join(sorted(self.dtypes))}"


def account(
    where: str,
    held: Held,
    shapes: Shapes,
    files: Sequence[Found],
    drop: Sequence[str] = (),
    *,
    beside: Sequence[tuple[Held, Shapes]] = (),
) -> Account:
    """Compare the `files` of a component in the folder `where` with the `shapes` that it must have, by our names.
    `beside`: the other components in these files, whose tensors are not its own.

    Raises CheckpointError that names a tensor which is missing, of another shape, of a dtype that is no weight's, twice
    there, or left over and not matched by one of the globs `drop`.
    """
    ours, dropped, left = _names(held, shapes, files, drop, beside)
    _check_needed(where, held, shapes, dropped)
    _check_all_there(where, held, shapes, ours, files)
    if left:
        raise CheckpointError(
            f"weights: {where} holds {shown(left[0])}, which this model does not have ({len(left)} such in all): give "
            "the folder of another model, or leave them out with --drop GLOB"
        )
    dtypes = {file.tensors[key].dtype for file in files for key in file.tensors if key in ours}
    return Account(
        kept=[kept for file in files if (kept := _kept(file, ours)) is not None],
        parameters=sum(prod(shape) for shape in shapes.values()),
        used=len(ours),
        renamed=sum(theirs != name for theirs, name in ours.items()),
        dropped=dropped,
        dtypes=dtypes,
    )


def _names(
    held: Held,
    shapes: Shapes,
    files: Sequence[Found],
    drop: Sequence[str],
    beside: Sequence[tuple[Held, Shapes]],
) -> tuple[dict[str, str], list[str], list[str]]:
    """Key of a tensor -> our name; the keys that are dropped; those that are left over."""
    ours: dict[str, str] = {}
    dropped, left = [], []
    for key in (key for file in files for key in file.tensors):
        name = held.ours(key)
        if any(fnmatchcase(key, glob) for glob in drop):
            dropped.append(key)
        elif name is not None and name in shapes:
            ours[key] = name
        elif not any(other.ours(key) in theirs for other, theirs in beside):
            left.append(key)
    return ours, dropped, left


def _check_needed(where: str, held: Held, shapes: Shapes, dropped: Collection[str]) -> None:
    needed = sorted(key for key in dropped if held.ours(key) in shapes)
    if needed:
        raise CheckpointError(
            f"weights: --drop leaves out {shown(needed[0])} of {where} ({len(needed)} in all), which the model needs: "
            "choose a GLOB that matches less"
        )


def _check_all_there(where: str, held: Held, shapes: Shapes, ours: Mapping[str, str], files: Sequence[Found]) -> None:
    missing = sorted(held.theirs(name) for name in shapes.keys() - {*ours.values()})
    if missing:
        raise CheckpointError(
            f"weights: {where} lacks {shown(missing[0])} ({len(missing)} of {len(shapes)} tensors in all): download it "
            "again, or give the folder of a whole model"
        )
    for file in files:
        for key, tensor in file.tensors.items():
            if key not in ours:
                continue
            if tensor.shape != shapes[ours[key]]:
                raise CheckpointError(
                    f"weights: {file.path}: {shown(key)} has the shape {list(tensor.shape)}, and config.json makes it "
                    f"{list(shapes[ours[key]])}"
                )
            if tensor.dtype not in FLOATS:
                raise CheckpointError(
                    f"weights: {file.path}: {shown(key)} is {tensor.dtype}, and weights must be one of "
                    f"{listed(FLOATS)}: give a folder of such weights"
                )


def _kept(file: Found, ours: Mapping[str, str]) -> Kept | None:
    """The file under our names; None if nothing of it is used."""
    order = [key for key in file.order if key in ours]
    if not order:
        return None
    everything = file.begin is not None and len(order) == len(file.order)
    if everything and all(ours[key] == key for key in order):
        return Kept(found=file, shard=None)
    tensors = [replace(file.tensors[key], name=ours[key]) for key in order]
    names = [ours[key] for key in file.tensors if key in ours]
    shard = Shard(file=file.path.name, tensors=tensors, listed=names, metadata=file.metadata)
    return Kept(found=file, shard=shard, begin=file.begin if everything else None)
