"""The identity of a codec: a hash that every shard and every registered version carries."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor

from talkies.config.canonical import identifying


def config_values(config: object) -> dict[str, Any]:
    """The values of a codec's config as plain JSON, with the first names of its keys: the form in which fitted codecs
    and shard sets record it. Without `weights`: a file's location does not change a codec."""
    assert is_dataclass(config)
    assert not isinstance(config, type)
    values: dict[str, Any] = identifying(config)
    values.pop("weights", None)
    return values


def identity(config: object, tensors: Mapping[str, Tensor]) -> str:
    """sha256 over the config (its `kind` included) and every tensor's name, dtype, shape and bytes, in name order.

    A codec passes the tensors that it computes with, so the same file read at another precision has another identity.
    """
    values = config_values(config)
    assert "kind" in values, "a codec's config names its kind"
    digest = hashlib.sha256(_header(values))
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(_header([name, str(tensor.dtype), list(tensor.shape)]))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _header(value: object) -> bytes:
    # The newline ends the header, so that different (header, bytes) sequences never hash the same bytes.
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"
