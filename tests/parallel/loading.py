"""A network of 42 million weights, loaded from a release in bf16: the memory that a process needs for it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from state_bytes import storage, toy
from torch import Tensor, nn

from talkies.checkpoints.release import open_component, write_release
from talkies.checkpoints.spans import local, whole
from talkies.config.canonical import to_dict
from talkies.models.build import build
from talkies.models.mova.config import PRESETS
from talkies.models.mova.system import MOVA
from talkies.models.wan.config import TowerConfig
from talkies.parallel.mesh import mesh_of
from talkies.parallel.world import ALONE, world_of
from talkies.recipe.config import PhaseRecipe
from talkies.runs import building
from talkies.runs.parents import Parent

WIDE = TowerConfig(
    dim=768, ffn_dim=3072, heads=4, layers=4, patch=(1,), in_channels=8, out_channels=8, text_dim=64, freq_dim=64
)
LARGEST = 6 * WIDE.dim**2
"""Elements of the largest tensor: the projection of the time."""
Rows = Callable[[int, int], Tensor]


def recipe_of(*overrides: str) -> PhaseRecipe:
    """The toy's phase of sound, with WIDE as its network."""
    sizes = to_dict(replace(PRESETS["toy"], audio=WIDE))
    return toy(
        "audio_pretraining", "precision=bf16", "model.preset=null", f"model.sizes={json.dumps(sizes)}", *overrides
    )


def value_of(name: str) -> float:
    """What the release has in a tensor."""
    return len(name) / 64


def release(folder: Path, info: dict[str, Any]) -> None:
    """Write the parent, in bf16."""
    skeleton: nn.Module = build(MOVA, recipe_of(), {"audio"}, seed=None).get_submodule("audio")
    tensors = {name: torch.full(p.shape, value_of(name)).bfloat16() for name, p in skeleton.named_parameters()}
    write_release(folder, components={"audio": tensors}, info=info)


def anonymous() -> int:
    """Bytes of this process's memory that no file backs. Mapped pages of a safetensors file count as resident, too, but
    the system drops them when it needs memory."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def loaded(folder: str, layout: str, overrides: list[str]) -> dict[str, Any]:
    """Build on this rank: the bytes of its own part, and by how much its memory was larger at most, measured whenever a
    tensor has been read; `wrong`: weights that are not those of the release."""
    recipe = recipe_of(f"parallel={layout}", *overrides)
    world = world_of() if recipe.parallel.ranks > 1 else ALONE
    mesh = mesh_of(recipe.parallel, world)
    parent = Parent(spec="parent", folder=Path(folder), sha256="0" * 64, info={})
    before, seen = anonymous(), list[int]()

    def noted(read: Rows, first: int, last: int) -> Tensor:
        value = read(first, last)
        seen.append(anonymous() - before)
        return value

    def watched(release: Path, component: str) -> Iterator[tuple[str, tuple[int, ...], Rows]]:
        for name, shape, read in open_component(release, component):
            yield name, shape, partial(noted, read)

    building.open_component = watched  # type: ignore[attr-defined]
    model = building.build_model(recipe, {"audio": parent}, mesh)
    seen.append(anonymous() - before)
    parameters = dict(model.named_parameters())
    plain = {name.replace(".base_layer.", "."): p for name, p in parameters.items() if ".lora_" not in name}
    right = {name: bool((whole(p) == value_of(name.removeprefix("audio."))).all()) for name, p in plain.items()}
    return {
        "own": storage(local(p) for p in parameters.values()),
        "above": max(seen) - storage(local(p) for p in parameters.values()),
        "read": len(seen) - 1,
        "wrong": [name for name, same in right.items() if not same],
    }
