"""Checkpoints of HT-Demucs (*.th) as the weights of a demixer: safetensors and a config.json."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from talkies.codecs.demix_config import DemucsConfig
from talkies.codecs.demucs import DemucsDemixer
from talkies.config import CheckpointError, RecipeError
from talkies.config.quoting import listed, shown
from talkies.files.durable import write_text
from talkies.files.folders import replacing_folder
from talkies.files.tensors import write_tensors
from talkies.runs.import_choices import Choices, check_out, check_space
from talkies.weights.pickled import read_plain
from talkies.weights.recognition import DEMIXER, DEMIXER_SUFFIX


class _HTDemucs:
    """Stands for the class that a checkpoint names; nothing is made of it."""


STAND_INS = ((_HTDemucs, "demucs.htdemucs.HTDemucs"), (Fraction, "fractions.Fraction"))
"""What a checkpoint of demucs names besides tensors and plain values."""


@dataclass(frozen=True, kw_only=True)
class _Network:
    """The tensors of a checkpoint, and the arguments of its network."""

    path: Path
    tensors: Mapping[str, Tensor]
    shape: Mapping[str, Any]


def import_demixer(folder: Path, out: Path, choices: Choices, say: Callable[[str], None] = print) -> None:
    """Make `out`, which `codecs.demix.weights` takes, of the checkpoints in `folder`. An error leaves nothing behind:
    RecipeError for a choice or a missing extra, CheckpointError and DataError for the folder's contents."""
    _check_choices(choices)
    check_out(folder, out)
    paths = sorted(folder.glob(f"*{DEMIXER_SUFFIX}")) if folder.is_dir() else []
    if not paths:
        raise CheckpointError(
            f"import: {folder} has no *{DEMIXER_SUFFIX}: give the folder that has checkpoints of HT-Demucs"
        )
    networks = [_read(path) for path in paths]
    _check_alike(networks)
    check_space(folder, out, sum(path.stat().st_size for path in paths))
    with replacing_folder(out) as work:
        write_text(work / "config.json", json.dumps(networks[0].shape, indent=2, sort_keys=True) + "\n")
        for one in networks:
            write_tensors(work / f"{one.path.stem}.safetensors", one.tensors)
            say(f"import:   {one.path}: {len(one.tensors)} tensors, nothing was run")
        sources = tuple(networks[0].shape["sources"])
        DemucsDemixer.load(DemucsConfig(weights=str(work), tracks=sources))
    say(f"import:   it parts a sound into {listed(sources)}: name them in this order in `tracks`")


def _check_choices(choices: Choices) -> None:
    if not choices.pickle:
        raise RecipeError(
            "import: checkpoints of HT-Demucs are pickles, which may run code: give --pickle, which reads a "
            f"{DEMIXER_SUFFIX} without running it"
        )
    given = {"--name": choices.name, "--geometry": choices.geometry, "--link": choices.link, "--drop": choices.drop}
    for option in (option for option, value in given.items() if value):
        raise RecipeError(f"import: {option} says nothing about a demixer (--as {DEMIXER}): leave it out")


def _read(path: Path) -> _Network:
    """A checkpoint, of which nothing is run. CheckpointError if it is not one of HT-Demucs with plain tensors."""
    held = read_plain(path, STAND_INS)
    if not isinstance(held, Mapping) or held.get("klass") is not _HTDemucs:
        raise CheckpointError(f"import: {path} is no checkpoint of an HT-Demucs, which names its class in `klass`")
    args, kwargs, state = (held.get(key) for key in ("args", "kwargs", "state"))
    if not isinstance(kwargs, Mapping) or not isinstance(args, list | tuple) or len(args) > 1:
        raise CheckpointError(f"import: {path} has no arguments of its network (`args`, the sources, and `kwargs`)")
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"import: {path} has other things than tensors in `state`: it may be quantised by diffq")
    named = {**({"sources": args[0]} if args else {}), **kwargs}
    shape = {name: _plain(value) for name, value in named.items()}
    try:
        json.dumps(shape, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"import: {path} has arguments that are no plain values ({error})") from None
    return _Network(path=path, tensors=dict(state), shape=shape)


def _plain(value: Any) -> Any:
    """As JSON has it."""
    return float(value) if isinstance(value, Fraction) else list(value) if isinstance(value, tuple) else value


def _check_alike(networks: list[_Network]) -> None:
    first = networks[0]
    if not first.shape.get("sources"):
        raise CheckpointError(f"import: {first.path} does not name its sources")
    for one in networks[1:]:
        if one.shape != first.shape:
            differing = sorted(
                key for key in one.shape.keys() | first.shape.keys() if one.shape.get(key) != first.shape.get(key)
            )
            raise CheckpointError(
                f"import: {one.path} is another network than {first.path.name} ({shown(differing[0])} differs): a mean "
                "of both cannot be taken; import them apart"
            )
