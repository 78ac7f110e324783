"""The folder of a codec that was fitted here.

It holds model.safetensors and config.json = {"codec": config values, "identity", "sha256" of model.safetensors};
config.json is written last: without it the codec does not exist.
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

from talkies.codecs.identity import config_values
from talkies.codecs.pretrained import read_config
from talkies.config import DataError, StorageError
from talkies.config.shown import shown

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Fitted(Protocol):
    """A codec that was fitted here: everything that it computes with is in `config` and `weights`."""

    config: Any
    identity: str

    @property
    def weights(self) -> dict[str, Tensor]: ...


def save_codec(codec: Fitted, folder: Path) -> None:
    """Write a fitted codec's folder atomically. StorageError where the disk is full or read-only."""
    weights = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in codec.weights.items()})
    record = {
        "codec": config_values(codec.config),
        "identity": codec.identity,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # An old marker must not vouch for new weights.
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

    Raises DataError where the folder is missing, was fitted under another config (naming the keys), or is damaged.
    """
    if not (folder / CONFIG).is_file():
        raise DataError(f"no fitted codec in {folder}: {CONFIG} is missing; run `talkies prepare`, which fits it")
    record = read_config(folder)
    _check_config(config, record, folder)
    if not (folder / WEIGHTS).is_file():  # a pipe would be waited for
        what = "is no file" if (folder / WEIGHTS).exists() else "is missing"
        raise DataError(f"codec {folder}: {WEIGHTS} {what}; restore it or run `talkies prepare` again")
    try:
        weights = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise DataError(f"codec {folder}: cannot read {WEIGHTS}: {error.strerror}") from None
    found = hashlib.sha256(weights).hexdigest()
    if found != record.get("sha256"):
        raise DataError(
            f"codec {folder}: {WEIGHTS} is damaged: sha256 {found[:12]}, {CONFIG} has "
            f"{str(record.get('sha256'))[:12]}; restore it or run `talkies prepare` again"
        )
    tensors: dict[str, Tensor] = load_tensors(weights)
    return tensors


def _check_config(config: object, record: Mapping[str, Any], folder: Path) -> None:
    needed, found = config_values(config), record.get("codec")
    if not isinstance(found, dict):
        raise DataError(f"codec {folder}: {CONFIG} holds no `codec` section; run `talkies prepare` again")
    odd = [key for key in sorted(needed.keys() | found.keys()) if needed.get(key) != found.get(key)]
    if odd:
        differences = ", ".join(
            f"{key}: recipe {shown(needed.get(key))}, folder {shown(found.get(key))}" for key in odd
        )
        raise DataError(
            f"codec {folder} was fitted under another config ({differences}); change the recipe or fit again"
        )


def check_identity(codec: Fitted, folder: Path) -> None:
    """A fitted codec is the one that was saved: a changed algorithm shows here, not in garbled pictures."""
    saved = read_config(folder).get("identity")
    if codec.identity != saved:
        raise DataError(
            f"codec {folder}: its identity is {codec.identity[:12]}, {CONFIG} has {str(saved)[:12]}: it was fitted by "
            "another version of talkies; run `talkies prepare` again"
        )
