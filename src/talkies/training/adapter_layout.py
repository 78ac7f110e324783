"""An adapter in PEFT's format for the networks of a layout: a folder for each, with its names."""

import json
from collections.abc import Mapping
from pathlib import Path

from talkies.files.durable import write_text
from talkies.streams.layout import Held, by_folder
from talkies.training.adapter import Adapter
from talkies.training.lora import ADAPTER
from talkies.weights.pieces import Outgoing, Piece
from talkies.weights.shards import Shard

_WEIGHT = ".weight"


def write_adapters(adapter: Adapter, folder: Path, components: Mapping[str, Held]) -> None:
    """`folder`/<folder of the component>/, each of which `PeftModel.from_pretrained` loads onto the network in the
    folder of that name beside `folder`."""
    known = ADAPTER.read_values(adapter.folder / "adapter_config.json")
    for name, inside in by_folder(components).items():
        layers = {
            held.theirs(layer.removeprefix(f"{component}.") + _WEIGHT).removesuffix(_WEIGHT): pair
            for component, held in inside.items()
            for layer, pair in adapter.layers.items()
            if layer.startswith(f"{component}.")
        }
        if not layers:
            continue
        own = folder / name
        own.mkdir(parents=True)
        config = {**known, "target_modules": sorted(layers), "base_model_name_or_path": f"../../{name}"}
        write_text(own / "adapter_config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
        tensors = [
            _outgoing(f"base_model.model.{layer}.lora_{matrix}.weight", piece)
            for layer, pair in sorted(layers.items())
            for matrix, piece in zip("AB", pair, strict=True)
        ]
        Shard(file="adapter_model.safetensors", tensors=tensors, listed=[tensor.name for tensor in tensors]).write(own)


def _outgoing(name: str, piece: Piece) -> Outgoing:
    return Outgoing(name=name, dtype=piece.dtype, shape=piece.shape, size=piece.size, chunks=piece.chunks)
