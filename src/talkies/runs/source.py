"""A SOURCE on the command line: a checkpoint, a run, a release, or models:/name@alias, opened for sampling."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from talkies.checkpoints.bases import base_folder
from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.manifest import read_manifest
from talkies.checkpoints.release import read_release, release_sha256
from talkies.checkpoints.spans import local
from talkies.checkpoints.state import load_ema
from talkies.codecs.load import load_codecs
from talkies.config import CheckpointError, DataError
from talkies.config.quoting import shown
from talkies.config.records import present
from talkies.data.shards import ShardSet
from talkies.flow.config import Offload
from talkies.parallel.config import Fsdp2Config
from talkies.parallel.mesh import Mesh, mesh_of, root_device
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE, world_of
from talkies.prepare.geometry import Geometry
from talkies.recipe.check import grids
from talkies.recipe.components import codecs_read, parts
from talkies.recipe.config import PhaseRecipe, Systems
from talkies.runs.building import build_model, restore_model
from talkies.runs.evaluated import denoiser_of, with_offload
from talkies.runs.folders import finished
from talkies.runs.inputs_record import FACTS, find_codecs
from talkies.runs.inputs_record import FILE as FACTS_FILE
from talkies.runs.located import checkpoint_of, neighbours, refuse_download
from talkies.runs.opened import Source, frame_rate
from talkies.runs.parents import Parent, Resolver, check_lineage, open_parents
from talkies.runs.place import place_of
from talkies.runs.recorded import recipe_of_release, recipe_of_run
from talkies.streams.codec import Codecs


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What is about to be opened: its recipe, and its run, if any; `imported`: it was not trained here."""

    recipe: PhaseRecipe
    run: Path | None
    imported: bool


Check = Callable[[Opening], object]
"""Checks what is opened, before weights and codecs are read."""


def open_source(
    spec: str,
    registry: Resolver,
    ranks: Ranks | None = None,
    *,
    systems: Systems,
    data: Path | None = None,
    offload: Offload | None = None,
    check: Check | None = None,
) -> Source:
    """Open `spec`. Raises CheckpointError if it is missing or damaged, TrackingError if it is not registered, DataError
    if its codecs are missing or do not match. `data`: the data root whose codecs a checkpoint uses, if not its run's;
    `offload`: that of the sampling, if not the recipe's; `check` is called before weights and codecs are read.

    Every process of `ranks` calls it and holds its share of the weights; sampling and measuring need all of them.
    """
    ranks = ranks or Ranks(ALONE)
    if spec.startswith("models:/"):
        folder = ranks.after_main(lambda _: registry(spec))
        return _from_release(folder, run=None, ranks=ranks, systems=systems, offload=offload, check=check)
    path = Path(spec)
    if not path.is_dir():
        raise CheckpointError(
            f"source: {shown(spec)} is not a folder; give a run, a checkpoint, a release or models:/name@alias"
        )
    if present(path / "release.json"):
        of = path.parent if finished(path.parent) else None
        return _from_release(path, run=of, ranks=ranks, systems=systems, offload=offload, check=check)
    if finished(path) and (path / "release").is_dir():
        of, path = path, path / "release"
        return _from_release(path, run=of, ranks=ranks, systems=systems, offload=offload, check=check)
    refuse_download("source", path, systems)
    checkpoint, run = checkpoint_of(path, ranks)
    return _from_checkpoint(
        checkpoint, run, registry, ranks=ranks, data=data, systems=systems, offload=offload, check=check
    )


def as_tracked(source: Source) -> Source:
    """`source`, of a run, with the tracking config of the run's recipe.json, which a release does not record."""
    assert source.run is not None
    of_run = recipe_of_run(source.run, (source.recipe.system,))
    return replace(source, recipe=replace(source.recipe, tracking=of_run.tracking))


def _mesh(ranks: Ranks) -> Mesh | None:
    """The mesh for sampling and measuring: weights sharded over all processes; None for one process."""
    return mesh_of(Fsdp2Config(shard=ranks.world.size), ranks.world) if ranks.world.size > 1 else None


def _from_release(
    folder: Path,
    *,
    run: Path | None,
    ranks: Ranks,
    systems: Systems,
    offload: Offload | None,
    check: Check | None,
) -> Source:
    if check is not None:
        early = read_release(folder, verify=False)
        if "recipe" in early:
            recipe = with_offload(recipe_of_release(folder, early, systems), offload, ranks)
            check(Opening(recipe=recipe, run=run, imported=early.get("imported") is not None))
    info = ranks.after_main(lambda main: read_release(folder, verify=main))
    for key in ("recipe", "name", "step"):
        if key not in info:
            raise CheckpointError(
                f"release: {folder / 'release.json'} has no {shown(key)}: it was not written by talkies"
            )
    recipe = with_offload(recipe_of_release(folder, info, systems), offload, ranks)
    if info.get("imported") is not None:
        _check_came_along(folder, recipe)
    base = folder if not info["base"] else base_folder(folder, info["base"])
    ranks.after_main(lambda main: read_release(base, verify=main))
    mapped = recipe.sampling.offload != "none"
    model = restore_model(recipe, base, folder / "adapter" if info["base"] else None, _mesh(ranks), mapped=mapped)
    return _source(
        recipe,
        model,
        folder / "codecs",
        name=info["name"],
        sha256=release_sha256(folder),
        run=run,
        step=int(info["step"]),
        identities=info["codecs"],
    )


def _check_came_along(folder: Path, recipe: PhaseRecipe) -> None:
    """DataError for an imported release without a codec that it makes clips with."""
    for part in lacking(recipe):
        raise DataError(
            f"source: {folder} has no {part} codec, because the folder that it was imported from had none: train from "
            "it (`parents`), or import a folder that has one"
        )


def lacking(recipe: PhaseRecipe) -> list[str]:
    """The codecs that an imported release would make clips with, and does not have."""
    return [part for part in sorted(codecs_read(recipe)) if getattr(recipe.codecs[part], "weights", "fitted") is None]


def _from_checkpoint(
    folder: Path,
    run: Path,
    registry: Resolver,
    *,
    ranks: Ranks,
    data: Path | None,
    systems: Systems,
    offload: Offload | None,
    check: Check | None,
) -> Source:
    """A checkpoint's EMA weights: all that the phase trains. A LoRA and a phase with frozen components also read their
    parents."""
    recipe = with_offload(recipe_of_run(run, systems), offload, ranks)
    if check is not None:
        check(Opening(recipe=recipe, run=run, imported=False))
    codecs, identities = _codecs_of(recipe, run, data)
    kept = recipe.train.kind != "all" or parts(recipe).frozen
    parents = _parents(recipe, run, registry, ranks) if kept else {}
    model = build_model(recipe, parents, _mesh(ranks), trains=False)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, value in load_ema(folder, trainable, ranks=ranks, group=ranks.group).items():
            local(trainable[name]).copy_(local(value))
    sha256 = read_manifest(folder).sha256
    step = int(read_loop(folder)["step"])
    return _source(
        recipe,
        model,
        codecs,
        name=f"{recipe.name}/{folder.name}",
        sha256=sha256,
        run=run,
        step=step,
        identities=identities,
        released=False,
    )


def _parents(recipe: PhaseRecipe, run: Path, registry: Resolver, ranks: Ranks) -> Mapping[str, Parent]:
    """The parents that `run` was started from."""
    siblings = neighbours(run)
    parents = ranks.after_main(lambda main: open_parents(recipe, siblings, registry, verify=main, near=run))
    check_lineage(run, parents)
    return parents


def _codecs_of(recipe: PhaseRecipe, run: Path, data: Path | None) -> tuple[Path, Mapping[str, str]]:
    """The folder of a run's fitted codecs, and their recorded identities, if any."""
    known = FACTS.find(run / FACTS_FILE)
    return find_codecs(recipe, place_of(run), data), {} if known is None else known.codecs


def _source(
    recipe: PhaseRecipe,
    model: nn.Module,
    codecs: Path,
    *,
    name: str,
    sha256: str,
    run: Path | None,
    step: int,
    identities: Mapping[str, str],
    released: bool = True,
) -> Source:
    geometry = Geometry.parse(recipe.data.geometry, key="data.geometry")
    found = grids(recipe, geometry)
    device, model = root_device(world_of()), model.eval().requires_grad_(False)
    held = "cpu" if recipe.sampling.offload != "none" else device
    loaded = load_codecs(recipe.codecs, codecs, names=codecs_read(recipe), device=held)
    _check_identities(name, loaded, identities)
    return Source(
        name=name,
        sha256=sha256,
        model=model,
        denoiser=denoiser_of(recipe, model, loaded, device),
        codecs=loaded,
        recipe=recipe,
        grids=found,
        fps=frame_rate(geometry),
        run=run,
        step=step,
        released=released,
        device=device,
    )


def open_set(data: Path, name: str, source: Source) -> ShardSet:
    """The shard set `name` of a data root, to measure `source` on.

    Raises DataError if it is missing or damaged, or was encoded by other codecs than those of `source`.
    """
    shards = ShardSet.open(data / "sets" / name)
    streams = parts(source.recipe).held_out
    shards.check(codec_identities=source.codecs.identities, geometry=shards.header.geometry, streams=streams)
    return shards


def _check_identities(name: str, codecs: Codecs, identities: Mapping[str, str]) -> None:
    """DataError if a codec is not the one that the model was trained with: what it decodes would be noise."""
    for part, identity in codecs.identities.items():
        known = identities.get(part, identity)
        if identity != known:
            raise DataError(
                f"source: {name} was trained with {part} codec {known[:16]}, this one is {identity[:16]}: put back the "
                "codec that it was trained with"
            )
