"""The result of a phase: its EMA weights as a release, and result.json, written last."""

import math
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.rank_group import RankGroup
from talkies.checkpoints.release import release_sha256, write_release
from talkies.checkpoints.spans import StateTensor, whole
from talkies.checkpoints.state import open_ema, stored_ema
from talkies.config.canonical import to_dict
from talkies.config.regular_files import resolved
from talkies.data.substitutes import FILE
from talkies.files.durable import write_json
from talkies.files.integrity import sha256_of
from talkies.models.build import component_of
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.runs.frozen import with_frozen
from talkies.runs.inputs_record import CODECS, FACTS, Facts, check_copies
from talkies.runs.inputs_record import FILE as FACTS_FILE
from talkies.runs.parents import Parent, shape_json
from talkies.runs.recorded import name_of_run, released_values
from talkies.training.after_step import AfterStep
from talkies.training.lora import adapter_json, adapter_tensors
from talkies.training.phase import Phase


def commit() -> str:
    """The commit of the working tree, with `-dirty` where files differ from it; 'unknown' if these sources are not the
    `src` of a repository (an installation may lie inside another one)."""
    sources = Path(__file__).parents[2]
    try:
        if not resolved(Path(_git(sources, "rev-parse", "--show-toplevel")) / "src").samefile(sources):
            return "unknown"
        return _git(sources, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(folder: Path, *words: str) -> str:
    command = ["git", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def portable_recipe(recipe: PhaseRecipe, parents: Mapping[str, Parent]) -> PhaseRecipe:
    """The recipe as a release records it: a parent given as a path is named by its hash, and pretrained codecs have no
    path to their weights, since the release records their identities."""
    identities = {parent.spec: parent.identity for parent in parents.values()}
    named: dict[str, str | None] = {
        key: identities.get(spec, spec) for key, spec in recipe.parents.items() if spec is not None
    }
    codecs = {name: replace(config, weights=None) for name, config in _pretrained(recipe).items()}
    return replace(recipe, parents=named, codecs={**recipe.codecs, **codecs})


def _pretrained(recipe: PhaseRecipe) -> dict[str, Any]:
    """Name -> config of the codecs that read weights from a folder."""
    return {name: config for name, config in recipe.codecs.items() if getattr(config, "weights", None) is not None}


def release_info(
    recipe: PhaseRecipe, facts: Facts, parents: Mapping[str, Parent], checkpoint: Path, run: Path
) -> dict[str, Any]:
    """The contents of release.json other than its files: enough to sample, to start a child and to write a card, and
    nothing about where it was made or tracked."""
    loop, recipe = read_loop(checkpoint), portable_recipe(recipe, parents)
    lineage = {component: {**parent.lineage(), "spec": parent.identity} for component, parent in parents.items()}
    return {
        "name": recipe.name,
        "phase": recipe.phase.kind if recipe.train.kind == "all" else recipe.train.kind,
        "step": loop["step"],
        "weights": "ema",
        "recipe": released_values(recipe),
        "recipe_hash": name_of_run(run),
        "commit": commit(),
        "model": to_dict(recipe.model),
        "shape": shape_json(recipe),
        "data": asdict(facts.data),
        "codecs": facts.codecs,
        "survival": left_out(loop, recipe.steps.global_batch),
        "quarantined": quarantined(loop, run),
        "parents": lineage,
    }


def left_out(loop: Mapping[str, Any], global_batch: int) -> dict[str, Any]:
    """What a run left out: skipped optimizer steps, and the ranges [first, end) of batches skipped in rollbacks,
    counted in optimizer steps of an undisturbed run."""
    passed = loop["data"]["passed"]
    return {
        "skipped_steps": loop["guard"]["skipped"],
        "passed_batches": [[start // global_batch, stop // global_batch] for start, stop in passed],
    }


def quarantined(loop: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """How many clips a run had to replace, and the sha256 of the file in its folder that names them."""
    file = run / FILE
    return {"clips": len(loop["data"]["quarantined"]), "sha256": sha256_of(file) if file.exists() else None}


def split_components(state: Mapping[str, StateTensor]) -> dict[str, dict[str, StateTensor]]:
    """component -> its weights under upstream's keys."""
    found: dict[str, dict[str, StateTensor]] = {}
    for name, tensor in state.items():
        component = component_of(name)
        found.setdefault(component, {})[name.removeprefix(f"{component}.")] = tensor
    return found


def export(recipe: PhaseRecipe, parents: Mapping[str, Parent], folder: Path, phase: Phase, after: AfterStep) -> str:
    """Write folder/release from the EMA weights; returns its sha256. Every process of the run calls it."""
    facts = FACTS.read(folder / FACTS_FILE)
    ranks = after.checkpoint_callback.ranks
    ranks.agree(check_copies if ranks.main else None, recipe, facts, folder)
    with after.ema_callback.ema.swapped(phase.state):
        tensors = phase.trainable()
        return publish(
            recipe,
            facts,
            parents,
            folder / "release",
            tensors,
            run=folder,
            checkpoint=after.checkpoint_callback.store.path(recipe.steps.max),
            codecs=folder / CODECS,
            whole=whole,
            ranks=ranks,
        )


def consolidate(
    recipe: PhaseRecipe,
    facts: Facts,
    parents: Mapping[str, Parent],
    checkpoint: Path,
    folder: Path,
    *,
    run: Path,
    codecs: Path,
) -> str:
    """Write the release `folder` from the EMA weights of a checkpoint of any layout, in one process that holds one
    tensor at a time; returns its sha256. Raises CheckpointError if the checkpoint is damaged."""
    stored = stored_ema(checkpoint)
    names = {id(tensor): name for name, tensor in stored.items()}
    read = open_ema(checkpoint)
    return publish(
        recipe,
        facts,
        parents,
        folder,
        stored,
        run=run,
        checkpoint=checkpoint,
        codecs=codecs,
        whole=lambda tensor: read(names[id(tensor)]),
        ranks=None,
    )


def publish(
    recipe: PhaseRecipe,
    facts: Facts,
    parents: Mapping[str, Parent],
    folder: Path,
    tensors: Mapping[str, StateTensor],
    *,
    run: Path,
    checkpoint: Path,
    codecs: Path,
    whole: Callable[[StateTensor], Tensor],
    ranks: RankGroup | None,
) -> str:
    """Write the release `folder` of a phase at `checkpoint` in `run`, with the fitted codecs in `codecs`; returns its
    sha256. `tensors`: what the phase trains, by parameter name; frozen components come from their parents.

    A LoRA's release holds the adapter in PEFT's format and names its base by hash.
    """
    adapter, base = None, None
    components: dict[str, dict[str, StateTensor]] = {}
    if recipe.train.kind == "lora":
        parent = next(iter(parents.values()))
        base = {"sha256": parent.sha256, "path": str(resolved(parent.folder)), "name": parent.info["name"]}
        adapter = (adapter_tensors(tensors), adapter_json(recipe.train, parent.sha256))
    else:
        components = split_components(tensors)
        frozen = {name: parents[name].folder for name in parts(recipe).frozen}
        components, whole = with_frozen(components, frozen, whole, main=ranks is None or ranks.main)
    write_release(
        folder,
        components=components,
        info=release_info(recipe, facts, parents, checkpoint, run),
        codecs_folder=codecs,
        adapter=adapter,
        base=base,
        weights={part: config.weights for part, config in _pretrained(recipe).items()},
        whole=whole,
        ranks=ranks,
    )
    return release_sha256(folder)


def write_result(folder: Path, *, step: int, sha256: str, metrics: Mapping[str, float]) -> None:
    """The completion marker of a run, with the last value of every metric that is a finite number."""
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    write_json(folder / "result.json", {"step": step, "sha256": sha256, "metrics": finite})
