"""The result of a phase: its averaged weights as a release, and result.json, written last."""

import math
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from talkies.checkpoints.release import release_sha256, write_release
from talkies.checkpoints.spans import Held, whole
from talkies.checkpoints.state import open_ema, read_loop, stored_ema
from talkies.checkpoints.together import Together
from talkies.config.canonical import BESIDE, recipe_hash, to_dict
from talkies.data.integrity import sha256_of
from talkies.data.substitutes import FILE
from talkies.models.build import component_of
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.folders import write_json
from talkies.recipe.inputs import Inputs
from talkies.recipe.parents import Parent, shape_json
from talkies.training.lora import adapter_json, adapter_tensors
from talkies.training.phase import Phase
from talkies.training.saving import Saving


def commit() -> str:
    """The commit of the working tree, with `-dirty` where files differ from it; 'unknown' outside a repository."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here, capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def release_info(recipe: PhaseRecipe, inputs: Inputs, checkpoint: Path) -> dict[str, Any]:
    """What release.json says besides its files: enough to sample, to start a child, and to write a card."""
    shards, loop = inputs.shards, read_loop(checkpoint)
    return {
        "name": recipe.name,
        "phase": recipe.phase.kind,
        "step": loop["step"],
        "weights": "ema",
        "recipe": {key: value for key, value in to_dict(recipe).items() if key not in BESIDE},
        "recipe_hash": recipe_hash(recipe),
        "commit": commit(),
        "model": to_dict(recipe.model),
        "shape": shape_json(recipe),
        "data": {
            "shards": recipe.data.shards,
            "clips": len(shards),
            "fingerprint": shards.fingerprint,
            "heldout_fingerprint": inputs.heldout.fingerprint,
            "geometry": recipe.data.geometry,
            "fps": shards.fps,
            "grids": {m: grid.to_json() for m, grid in shards.grids.items()},
        },
        "codecs": dict(shards.header.codecs),
        "survival": survived(loop, recipe.steps.global_batch),
        "quarantined": quarantined(loop, checkpoint.parents[1]),
        "parents": {component: parent.lineage() for component, parent in inputs.parents.items()},
    }


def survived(loop: Mapping[str, Any], global_batch: int) -> dict[str, Any]:
    """What a run left out: optimizer steps that were skipped, and ranges [first, end) of batches that it passed over
    when it went back, counted in optimizer steps of an undisturbed run."""
    passed = loop["data"]["passed"]
    return {
        "skipped_steps": loop["guard"]["skipped"],
        "passed_batches": [[start // global_batch, stop // global_batch] for start, stop in passed],
    }


def quarantined(loop: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """How many clips a run had to replace, and the sha256 of the file in its folder that names them."""
    file = run / FILE
    return {"clips": len(loop["data"]["quarantined"]), "sha256": sha256_of(file) if file.exists() else None}


def split_components(state: Mapping[str, Held]) -> dict[str, dict[str, Held]]:
    """component -> its weights under upstream's keys."""
    found: dict[str, dict[str, Held]] = {}
    for name, tensor in state.items():
        component = component_of(name)
        found.setdefault(component, {})[name.removeprefix(f"{component}.")] = tensor
    return found


def export(recipe: PhaseRecipe, inputs: Inputs, folder: Path, phase: Phase, saving: Saving, *, data_root: Path) -> str:
    """Write folder/release from the averaged weights; returns its sha256. Every process of the run calls it."""
    assert saving.ema is not None
    with saving.ema.swapped(phase.held):
        tensors = phase.trainable()
        return publish(
            recipe,
            inputs,
            folder / "release",
            tensors,
            checkpoint=saving.store.path(recipe.steps.max),
            data_root=data_root,
            whole=whole,
            together=saving.ranks,
        )


def consolidate(recipe: PhaseRecipe, inputs: Inputs, checkpoint: Path, folder: Path, *, data_root: Path) -> str:
    """Write the release `folder` from the averaged weights of a checkpoint, whichever layout wrote it, in one process
    that holds one tensor at a time; returns its sha256. Raises CheckpointError where the checkpoint is damaged."""
    found = stored_ema(checkpoint)
    names = {id(tensor): name for name, tensor in found.items()}
    read = open_ema(checkpoint)
    return publish(
        recipe,
        inputs,
        folder,
        found,
        checkpoint=checkpoint,
        data_root=data_root,
        whole=lambda tensor: read(names[id(tensor)]),
        together=None,
    )


def publish(
    recipe: PhaseRecipe,
    inputs: Inputs,
    folder: Path,
    tensors: Mapping[str, Held],
    *,
    checkpoint: Path,
    data_root: Path,
    whole: Callable[[Held], Tensor],
    together: Together | None,
) -> str:
    """Write the release `folder` of what a phase trained until `checkpoint`, by parameter name; returns its sha256.

    A LoRA's release holds the adapter in PEFT's format and names its base by hash.
    """
    adapter, base = None, None
    components: dict[str, dict[str, Held]] = {}
    if recipe.phase.kind == "lora":
        parent = _base(inputs.parents)
        base = {"sha256": parent.sha256, "path": str(parent.folder.resolve()), "name": parent.info["name"]}
        adapter = (adapter_tensors(tensors), adapter_json(recipe.phase, parent.sha256))
    else:
        components = split_components(tensors)
    write_release(
        folder,
        components=components,
        info=release_info(recipe, inputs, checkpoint),
        codecs_folder=data_root / "codecs",
        adapter=adapter,
        base=base,
        whole=whole,
        together=together,
    )
    return release_sha256(folder)


def _base(parents: Mapping[str, Parent]) -> Parent:
    return next(iter(parents.values()))


def write_result(folder: Path, *, step: int, sha256: str, metrics: Mapping[str, float]) -> None:
    """The completion marker of a run, with the last value of every metric that is a finite number."""
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    write_json(folder / "result.json", {"step": step, "sha256": sha256, "metrics": finite})
