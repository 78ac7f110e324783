"""Reading pretrained weights: safetensors only, every tensor accounted for, nothing unpickled."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from talkies.config import DataError, RecipeError
from talkies.config.quoting import listed, shown
from talkies.config.records import Kind
from talkies.files.tensors import PICKLES, WAY_OUT

PRETRAINED = Kind(holds=dict[str, Any], about="codec", remedy="download the weights again")


def weights_folder(weights: str | None, *, key: str, holds: str) -> Path:
    """The folder that recipe key `key` names; `holds` describes its contents. RecipeError if there is none."""
    if weights is None:
        raise RecipeError(f"`{key}` is not set: this kind of codec is pretrained; set it to a folder with {holds}")
    folder = Path(weights).expanduser()
    if not folder.is_dir():
        raise RecipeError(f"`{key}`: {folder} is not a folder; set it to a folder with {holds}")
    return folder


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """config.json, or another, of a weights folder; DataError if it is missing or not a JSON object."""
    return PRETRAINED.read(folder / name)


def diffusers_skeleton(model: Any, weights: str | None, *, key: str, release: str) -> tuple[Any, Path]:
    """The network of diffusers' class `model` in the folder that `key`.weights names, on the meta device, without
    values, and the folder; `release` holds such a one. RecipeError for a missing folder, DataError if its config.json
    describes another network."""
    name = model.__name__
    holds = f"config.json and diffusion_pytorch_model.safetensors of an {name}, such as {release}"
    folder = weights_folder(weights, key=f"{key}.weights", holds=holds)
    values = read_config(folder)
    check_class(folder, values.get("_class_name"), name)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # diffusers makes weight norm in torch's older way
        try:
            return model.from_config(values), folder
        except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise DataError(f"{folder}: its config.json describes no {name}: {error}") from None


def safetensors_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, sorted by name; DataError if there are none (it names pickled weights)."""
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return files
    pickled = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES) if folder.is_dir() else []
    found = f"only pickled weights ({listed(pickled)}), which may run code" if pickled else "none"
    remedy = f"convert them to safetensors first: {WAY_OUT}" if pickled else "give the folder that has them"
    raise DataError(f"{folder}: needed weights as *.safetensors, found {found}; {remedy}")


def only_file(folder: Path) -> Path:
    """The safetensors file of a folder; DataError unless it is one."""
    files = safetensors_files(folder)
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise DataError(f"{folder}: needed one safetensors file, found {len(files)}: {names}; keep the one to load")
    return files[0]


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the folder's one safetensors file, on the CPU, in its stored precision."""
    path = only_file(folder)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    return tensors


def load_strictly(network: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Replace the parameters of `network` (built on the meta device) by fp32 copies of `tensors`, freeze it and switch
    dropout off. DataError if a name or a shape differs."""
    check_shapes(network, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, source)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True, assign=True)
    network.requires_grad_(False).eval()


def check_shapes(network: nn.Module, found: Mapping[str, tuple[int, ...]], source: Path) -> None:
    """DataError if a name or a shape in `found` differs from those of `network`."""
    needed = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for kind, names in (
        ("lacks", needed.keys() - found.keys()),
        ("has unknown", found.keys() - needed.keys()),
        ("has other shapes for", {name for name in needed.keys() & found.keys() if needed[name] != found[name]}),
    ):
        if names:
            first = sorted(names)[0]
            shapes = f"needed {needed.get(first)}, found {found.get(first)}"
            raise DataError(f"{source}: {kind} {len(names)} of {len(needed)} tensors; first: {first} ({shapes})")


def read_transformer(kind: Any, folder: Path, *, besides: tuple[str, ...] = (), **options: Any) -> Any:
    """A network of transformers' class `kind`, with `options` of its `from_pretrained`. DataError if a tensor is
    missing, of another shape or unknown, unless its name (in a larger network: within this one) begins with one of
    `besides`."""
    from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

    safetensors_files(folder)
    disable_progress_bar()  # stderr is for what is wrong
    try:
        network, report = kind.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"cannot load {kind.__name__} from {folder}: {error}") from None
    # transformers fills missing tensors with random weights and only logs it.
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(map(str, report[problem]))
        if problem == "unexpected_keys":
            inner = f"{kind.base_model_prefix}."
            names = [name for name in names if not name.removeprefix(inner).startswith(besides)]
        if names:
            raise DataError(f"{folder}: {problem.replace('_', ' ')}: {', '.join(names[:3])} ...")
    return network


def check_class(folder: Path, found: Any, needed: str) -> None:
    """DataError if config.json of `folder` names another network, `found`, than the `needed` one."""
    if found != needed:
        raise DataError(
            f"{folder / 'config.json'} names the network {shown(found)}, and here it must be {needed}: give a folder "
            "of that network"
        )


def check_geometry(key: str, values: Mapping[str, tuple[int, int]]) -> None:
    """RecipeError if a recipe value differs from the weights': `values[name]` = (recipe's, weights')."""
    for name, (recipe, weights) in values.items():
        if recipe != weights:
            raise RecipeError(f"`{key}.{name}` is {recipe}, the weights have {weights}: set it to {weights}")
