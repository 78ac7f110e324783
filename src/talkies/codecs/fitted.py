"""The folder of a fitted codec, or of the fitted part of a pretrained one.

It holds model.safetensors and config.json = {"codec": config values, "identity", "sha256" of model.safetensors}.
config.json is written last: a folder without it holds no codec.
"""

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from talkies.codecs.identity import config_values, identity
from talkies.config import DataError, StorageError
from talkies.config.canonical import first_names
from talkies.config.quoting import named, shown
from talkies.config.records import Kind, Sha256, present, record, regular_bytes

CONFIG, WEIGHTS = "config.json", "model.safetensors"
WEIGHTS_LIMIT = 1 << 32
"""Largest size of the weights in bytes; they are read at once."""


@record
class FittedRecord:
    """config.json of a fitted codec."""

    codec: dict[str, Any]
    identity: Sha256
    sha256: Sha256


FITTED = Kind(holds=FittedRecord, about="codec", remedy="restore it from a copy, or run `talkies prepare` again")


class Fitted(Protocol):
    """A fitted codec: `config` and `weights` determine everything that it computes."""

    config: Any
    identity: str

    @property
    def weights(self) -> dict[str, Tensor]: ...


def save_codec(codec: Fitted, folder: Path) -> None:
    """Write a fitted codec's folder atomically. StorageError if the disk is full or read-only."""
    weights = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in codec.weights.items()})
    record = {
        "codec": config_values(codec.config),
        "identity": codec.identity,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # An old config.json must not vouch for new weights.
        (folder / CONFIG).unlink(missing_ok=True)
        _replace(folder / WEIGHTS, weights)
        _replace(folder / CONFIG, (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
            raise StorageError(f"codec {folder}: {error.strerror}; free space or choose another folder") from None
        raise


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_fitted(config: object, folder: Path) -> dict[str, Tensor]:
    """The tensors of a fitted codec's folder.

    Raises DataError if the folder is missing, was fitted under another config (naming the keys), or is damaged.
    """
    if not present(folder / CONFIG):
        raise DataError(f"no fitted codec in {folder}: {CONFIG} is missing; run `talkies prepare`, which fits it")
    record = FITTED.read(folder / CONFIG)
    _check_config(config, record.codec, folder)
    if not (folder / WEIGHTS).is_file():  # reading a pipe would block
        problem = "is not a regular file" if (folder / WEIGHTS).exists() else "is missing"
        raise DataError(f"codec {folder}: {WEIGHTS} {problem}; restore it or run `talkies prepare` again")
    try:
        weights = regular_bytes(folder / WEIGHTS, WEIGHTS_LIMIT)
    except OSError as error:
        raise DataError(f"codec {folder}: cannot read {WEIGHTS}: {error.strerror}") from None
    found = hashlib.sha256(weights).hexdigest()
    if found != record.sha256:
        raise DataError(
            f"codec {folder}: {WEIGHTS} is damaged: sha256 {found[:12]}, {CONFIG} has "
            f"{record.sha256[:12]}; restore it or run `talkies prepare` again"
        )
    tensors: dict[str, Tensor] = load_tensors(weights)
    return tensors


def _check_config(config: object, found: Mapping[str, Any], folder: Path) -> None:
    needed = config_values(config)
    differing = [key for key in sorted(needed.keys() | found.keys()) if needed.get(key) != found.get(key)]
    if differing:
        names = first_names(config)
        pairs = [(named(names.get(key, key)), shown(needed.get(key)), shown(found.get(key))) for key in differing]
        differences = ", ".join(f"{key}: recipe {ours}, folder {theirs}" for key, ours, theirs in pairs)
        raise DataError(
            f"codec {folder} was fitted under another config ({differences}); change the recipe or fit again"
        )


def fitted_identity(config: object, folder: Path) -> str:
    """The identity of a fitted codec, without computing with it: a pretrained network, whose hash the folder holds, is
    not read. Raises as `read_fitted` and `check_identity`."""
    found = identity(config, read_fitted(config, folder))
    check_identity(found, folder)
    return found


def check_identity(found: str, folder: Path) -> None:
    """Raise DataError if a loaded codec is not the one that was saved, because the algorithm has changed since."""
    saved = FITTED.read(folder / CONFIG).identity
    if found != saved:
        raise DataError(
            f"codec {folder}: its identity is {found[:12]}, {CONFIG} has {saved[:12]}: it was fitted by "
            "another version of talkies; run `talkies prepare` again"
        )
