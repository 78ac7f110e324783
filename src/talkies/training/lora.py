"""LoRA adapters (PEFT) over a frozen denoiser."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftLora
from peft import inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from talkies.checkpoints.spans import StateTensor
from talkies.checkpoints.weights import open_weights
from talkies.config import CheckpointError
from talkies.config.numbers import Count
from talkies.config.records import Kind, record
from talkies.parallel.sharding import copy_part
from talkies.training.config import LoraConfig
from talkies.training.lora_targets import check_targets


@record
class AdapterRecord:
    """adapter_config.json: those of PEFT's keys that determine the adapter's weights."""

    r: Count
    lora_alpha: float
    target_modules: tuple[str, ...]


ADAPTER = Kind(holds=AdapterRecord, about="adapter", remedy="restore it from a copy", error=CheckpointError)


def add_lora(model: nn.Module, config: LoraConfig, *, seed: int | None = None) -> None:
    """Freeze `model` and add adapters to every Linear that `targets` names.

    PEFT renames a target's weight to `q.base_layer.weight`. With `seed` the adapters are initialised, too; a model on
    the meta device gets its values later (`adapter_values`). Raises RecipeError for a target that matches nothing.
    """
    check_targets(model, config)
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(peft_config(config), model, low_cpu_mem_usage=seed is None)
    if seed is not None:
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, value in adapter_values(model, seed):
                parameters[name].copy_(value)


def adapter_values(model: nn.Module, seed: int) -> Iterator[tuple[str, Tensor]]:
    """(name, initial value on the CPU) of every adapter: A Kaiming, B zero, so that the model is unchanged.

    A value is a function of the seed and the parameter's name.
    """
    for name, parameter in list(model.named_parameters()):  # a list, because the caller may replace parameters
        if ".lora_" not in name:
            continue
        value = torch.zeros(parameter.shape)
        if ".lora_A." in name:
            digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))
            nn.init.kaiming_uniform_(value, a=math.sqrt(5), generator=generator)
        yield name, value


def plain_name(name: str) -> str:
    """The name that a parameter had before PEFT renamed it."""
    return name.replace(".base_layer.", ".")


def peft_config(config: LoraConfig) -> Any:
    """`config` as PEFT's own configuration."""
    return PeftLora(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=list(config.targets)
    )


def adapter_tensors(parameters: Mapping[str, StateTensor]) -> dict[str, StateTensor]:
    """The adapter's weights among `parameters`, under the keys of PEFT's files (`base_model.model.` and the path)."""
    return {
        f"base_model.model.{name.replace('.default.', '.')}": p for name, p in parameters.items() if ".lora_" in name
    }


def adapter_json(config: LoraConfig, base: str) -> str:
    """adapter_config.json as PEFT writes it; `base` names the adapted model."""
    values = peft_config(config).to_dict()
    values |= {"base_model_name_or_path": base, "inference_mode": True, "target_modules": sorted(config.targets)}
    return json.dumps(values, indent=2, sort_keys=True, default=str)


def load_adapter(
    model: nn.Module, folder: Path, config: LoraConfig, *, rename: Callable[[str], str] = lambda name: name
) -> None:
    """Fill the adapters that `add_lora(model, config)` made, under any layout, from a PEFT adapter folder; `rename`
    maps the names in the folder to the model's.

    Raises CheckpointError if its rank, scale or targets differ, or if its weights are incomplete.
    """
    values = ADAPTER.read(folder / "adapter_config.json")
    found: tuple[object, ...] = (values.r, values.lora_alpha, sorted(values.target_modules))
    needed: tuple[object, ...] = (config.rank, config.alpha, sorted(config.targets))
    if found != needed:
        raise CheckpointError(f"adapter {folder}: its (rank, alpha, targets) are {found}, the recipe's {needed}")
    adapters = {name: p for name, p in model.named_parameters() if ".lora_" in name}
    missing = set(adapters)
    for key, shape, read in open_weights(folder / "adapter_model.safetensors"):
        name = rename(_parameter_name(key))
        if name not in missing or tuple(adapters[name].shape) != shape:
            raise CheckpointError(f"adapter {folder}: made for another architecture; first unknown key: {name}")
        copy_part(adapters[name], read)
        missing.discard(name)
    if missing:
        raise CheckpointError(f"adapter {folder}: made for another architecture; it lacks {min(missing)}")


def _parameter_name(key: str) -> str:
    return (
        key.removeprefix("base_model.model.")
        .replace(".lora_A.", ".lora_A.default.")
        .replace(".lora_B.", ".lora_B.default.")
    )


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Within the block the model is its frozen base, bitwise."""
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
