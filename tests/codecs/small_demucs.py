"""A small random HT-Demucs, as demucs saves one and as a demixer reads it."""

import json
import sys
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from demucs_infer.htdemucs import HTDemucs
from safetensors.torch import save_file

SOURCES = ["music", "effect", "dialog"]
SHAPE: dict[str, Any] = {
    "channels": 16,
    "dconv_comp": 4,
    "t_layers": 1,
    "t_heads": 2,
    "nfft": 1024,
    "bottom_channels": 16,
    "segment": 0.5,
}


def network(seed: int = 0, **shape: Any) -> HTDemucs:
    """One with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made: HTDemucs = HTDemucs(sources=SOURCES, **{**SHAPE, **shape}).eval()
    return made


def demucs(folder: Path, *, networks: int = 1) -> Path:
    """A folder of weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"sources": SOURCES, **SHAPE}))
    for number in range(networks):
        save_file(network(number).state_dict(), folder / f"{number}.safetensors")
    return folder


def checkpoint(path: Path, seed: int = 0, **changes: Any) -> Path:
    """A checkpoint as demucs saves it: the name of its class, arguments, and weights in half precision."""
    package, module = ModuleType("demucs"), ModuleType("demucs.htdemucs")
    klass = type("HTDemucs", (), {"__module__": "demucs.htdemucs"})
    module.HTDemucs = klass  # type: ignore[attr-defined]
    half = OrderedDict((name, tensor.half()) for name, tensor in network(seed).state_dict().items())
    held = {
        "klass": klass,
        "args": (SOURCES,),
        "kwargs": {**SHAPE, "segment": Fraction(1, 2)},
        "state": half,
        "training_args": {"dset": {"name": "dnr"}},
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with patch.dict(sys.modules, {"demucs": package, "demucs.htdemucs": module}):
        torch.save(held, path)
    return path
