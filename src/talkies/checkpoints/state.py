"""All that a run needs to continue bitwise: tensors as DCP shards, the loop as JSON, generators as safetensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed import ProcessGroup

from talkies.checkpoints.loop import LOOP, read_loop
from talkies.checkpoints.manifest import Manifest, find_damage, read_manifest, verify
from talkies.checkpoints.names import renamed_entry
from talkies.checkpoints.per_rank_state import RankState, read_rank_states, write_rank_state
from talkies.checkpoints.rank_group import Alone, RankGroup
from talkies.checkpoints.spans import StateTensor, mapped
from talkies.checkpoints.tensors import load_tensors, open_tensors, save_tensors, stored_tensors
from talkies.checkpoints.weights import read_weights
from talkies.config import CheckpointError
from talkies.config.plain_json import canonical_json
from talkies.config.quoting import shown
from talkies.files.durable import storage_errors, write_text
from talkies.files.tensors import write_tensors

GENERATORS = "generators.safetensors"
SHARDS = "shards"


@dataclass(frozen=True, kw_only=True)
class State:
    """A restored state: whole tensors on the CPU, shards and spans on the devices of their parameters.

    `optimizer` maps "<parameter name>/<key>" (exp_avg, exp_avg_sq, step); `gathered`: see `read_rank_states`.
    """

    model: dict[str, StateTensor]
    optimizer: dict[str, StateTensor]
    ema: dict[str, StateTensor]
    loop: dict[str, Any]
    generators: dict[str, Tensor]
    gathered: list[dict[str, Any]]


def save_state(
    folder: Path,
    *,
    model: Mapping[str, StateTensor],
    optimizer: Mapping[str, StateTensor],
    ema: Mapping[str, StateTensor],
    loop: Mapping[str, Any],
    generators: Mapping[str, Tensor],
    gathered: RankState | None = None,
    rank: int = 0,
    group: ProcessGroup | None = None,
) -> None:
    """Write a state into the empty `folder`; a CheckpointStore completes it.

    `optimizer` maps "<parameter name>/<key>" to a tensor; `loop` is plain JSON (counters, the data's and the guard's
    state). Every process of `group` calls it with its `rank`: each writes its shards, its generators and what it has
    `gathered`, rank 0 also the loop. Raises StorageError with the bytes needed if the disk is full.
    """
    tensors = {
        f"{part}/{name}": value
        for part, values in (("model", model), ("optimizer", optimizer), ("ema", ema))
        for name, value in values.items()
    }
    with storage_errors(folder, sum(value.nbytes for value in tensors.values())):
        save_tensors(folder / SHARDS, tensors, group)
        write_tensors(folder / generators_file(rank), generators)
        if gathered is not None:
            write_rank_state(folder, rank, gathered)
        if rank == 0:
            write_text(folder / LOOP, canonical_json(dict(loop)) + "\n")


def generators_file(rank: int) -> str:
    """The name of the file with the states of a rank's generators."""
    return GENERATORS if rank == 0 else f"generators-{rank:05d}.safetensors"


def load_state(
    folder: Path,
    *,
    model: Mapping[str, StateTensor],
    ema: Mapping[str, StateTensor],
    ranks: RankGroup | None = None,
    group: ProcessGroup | None = None,
) -> State:
    """Read a state on any number of processes; its manifest verifies it first.

    Every process of `ranks` (its process group is `group`) calls it. Each verifies its share of the files (free if
    `CheckpointStore.latest` has just done so), and every file that it unpickles or reads alone. A rank that did not
    exist when the state was written uses the generators of rank 0.
    The state must have the names, shapes and dtypes of `model` and `ema`, else CheckpointError names the first that
    differs. Raises CheckpointError for a damaged or incomplete checkpoint, before anything is unpickled.
    """
    ranks = ranks or Alone()
    parts = _read(folder, lambda _: True, model, ema, ranks=ranks, group=group)
    _check(folder, "model", parts["model"], model, dtypes=True)
    _check(folder, "ema", parts["ema"], ema, dtypes=True)
    _check_optimizer(folder, parts["optimizer"], model)
    file = generators_file(ranks.place[0])
    file = file if file in read_manifest(folder).files else GENERATORS
    verify(folder, [file])
    gathered = read_rank_states(folder, ranks.place)
    return State(**parts, loop=read_loop(folder), generators=read_weights(folder / file), gathered=gathered)


def load_ema(
    folder: Path,
    model: Mapping[str, StateTensor],
    *,
    ranks: RankGroup | None = None,
    group: ProcessGroup | None = None,
) -> dict[str, StateTensor]:
    """Only the EMA weights (fp32), verified; like `load_state`, but `model` may have another dtype."""
    fp32 = {name: mapped(value, lambda x: x.detach().float()) for name, value in model.items()}
    ranks = ranks or Alone()
    ema = _read(folder, lambda name: name.startswith("ema/"), {}, fp32, ranks=ranks, group=group)["ema"]
    _check(folder, "ema", ema, model, dtypes=False)
    return ema


def stored_ema(folder: Path) -> dict[str, Tensor]:
    """Name -> EMA weight of a checkpoint, on the meta device (shapes only). Verifies every file of the checkpoint."""
    stored = stored_tensors(folder / SHARDS, _rename(verify(folder)))
    return {name.removeprefix("ema/"): value for name, value in stored.items() if name.startswith("ema/")}


def open_ema(folder: Path) -> Callable[[str], Tensor]:
    """A function that reads one whole EMA weight by name, from a checkpoint that `stored_ema` has verified."""
    manifest = read_manifest(folder)
    files = {key.removeprefix(f"{SHARDS}/") for key in manifest.files if key.startswith(f"{SHARDS}/")}
    read = open_tensors(folder / SHARDS, files, _rename(manifest))
    return lambda name: read(f"ema/{name}")


def _read(
    folder: Path,
    wanted: Callable[[str], bool],
    model: Mapping[str, StateTensor],
    ema: Mapping[str, StateTensor],
    *,
    ranks: RankGroup,
    group: ProcessGroup | None,
) -> dict[str, dict[str, Any]]:
    def like(name: str) -> StateTensor | None:
        part, _, rest = name.partition("/")
        if part == "optimizer":
            rest = rest.rpartition("/")[0]
        return (ema if part == "ema" else model).get(rest)

    wrong = find_damage(folder, ranks)
    ranks.agree(_refuse if wrong and ranks.main else None, wrong)
    manifest = read_manifest(folder)
    for name in (LOOP, GENERATORS, f"{SHARDS}/.metadata"):
        if name not in manifest.files:
            raise CheckpointError(f"checkpoint: {folder} has no {name}: its manifest does not list it")
    verify(folder, [f"{SHARDS}/.metadata"])
    files = {name.removeprefix(f"{SHARDS}/") for name in manifest.files if name.startswith(f"{SHARDS}/")}
    parts: dict[str, dict[str, Any]] = {"model": {}, "optimizer": {}, "ema": {}}
    rename = _rename(manifest)
    for name, value in load_tensors(folder / SHARDS, files, wanted, like=like, group=group, rename=rename).items():
        part, _, rest = name.partition("/")
        if part not in parts:
            raise CheckpointError(f"checkpoint: {folder} holds {shown(name)}, which does not belong to a state")
        parts[part][rest] = value
    return parts


def _rename(manifest: Manifest) -> Callable[[str], str]:
    return partial(renamed_entry, schema=manifest.names_schema)


def _refuse(wrong: str) -> None:
    raise CheckpointError(wrong)


def _check(
    folder: Path, part: str, found: Mapping[str, StateTensor], expected: Mapping[str, StateTensor], *, dtypes: bool
) -> None:
    """Raise CheckpointError if names, shapes or (with `dtypes`) dtypes differ."""

    def kind(tensor: StateTensor) -> tuple[object, ...]:
        return (tuple(tensor.shape), tensor.dtype) if dtypes else (tuple(tensor.shape),)

    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    changed = [name for name in expected if name in found and kind(found[name]) != kind(expected[name])]
    names_of = {"missing": missing, "unexpected": unexpected}
    faults = [f"{word} {names[0]} ({len(names)} in all)" for word, names in names_of.items() if names]
    faults += [f"{name} is {_shown(found[name])}, not {_shown(expected[name])}" for name in changed[:1]]
    if faults:
        raise CheckpointError(
            f"checkpoint: {folder} is of another architecture: {part}: {'; '.join(faults)}. Resume with the recipe it "
            "was trained with, or start a new run (--new)"
        )


def _shown(tensor: StateTensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _check_optimizer(folder: Path, found: Mapping[str, StateTensor], model: Mapping[str, StateTensor]) -> None:
    """Every moment must fit its parameter; a parameter whose group was inactive so far may have none."""
    for key, value in found.items():
        name = key.rpartition("/")[0]
        if name not in model or (value.ndim and value.shape != model[name].shape):
            raise CheckpointError(
                f"checkpoint: {folder} is of another architecture: optimizer: {key} is {_shown(value)}, the model has "
                f"{_shown(model[name]) if name in model else 'no such parameter'}"
            )
