"""The parents that a phase takes weights from: exact results of earlier runs, verified by hash before use."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkies.checkpoints.release import read_release, release_sha256
from talkies.config import CheckpointError
from talkies.config.places import looked_for, moved, runs_of
from talkies.config.quoting import named, shown
from talkies.config.records import present
from talkies.recipe.components import parent_of
from talkies.recipe.config import PhaseRecipe
from talkies.runs.folders import finished
from talkies.runs.records import RECIPE, RESULT
from talkies.streams.system import sizes_key

Resolver = Callable[[str], Path]


@dataclass(frozen=True, kw_only=True)
class Parent:
    """A verified release: its folder, the hash of its manifest, and its release.json. `by_path`: `spec` is a path, not
    the name of a phase or of a registered version."""

    spec: str
    folder: Path
    sha256: str
    info: Mapping[str, Any]
    by_path: bool = False

    @property
    def identity(self) -> str:
        """Its name in a child's release: `spec`, or the hash if `spec` is a path."""
        return f"sha256:{self.sha256}" if self.by_path else self.spec

    def lineage(self) -> dict[str, object]:
        """What a child records about it."""
        keys = ("name", "step", "recipe_hash", "commit")
        return {"spec": self.spec, "sha256": self.sha256, **{key: self.info[key] for key in keys}}


def open_parent(
    spec: str,
    siblings: Mapping[str, Path],
    registry: Resolver,
    *,
    verify: bool = True,
    near: Path | None = None,
    phases: Collection[str] = (),
) -> Parent:
    """The release that `spec` names: an earlier phase of this curriculum, a run folder, a release folder, or
    models:/name@alias.

    `verify`: hash its files; one process does this for all. `near`: the run folder that starts from it; if a path does
    not exist, it is looked up in that run's runs folder, which may have been moved. `phases`: further names that error
    messages offer beside `siblings`. Raises CheckpointError if it is missing, unfinished or damaged, TrackingError if
    it is not registered.
    """
    if spec.startswith("models:/"):
        folder = registry(spec)
    elif spec in siblings:
        folder = _of_run(siblings[spec], spec)
    else:
        path = Path(spec)
        if not path.is_dir() and near is not None:
            path = moved(path, near) or path
        if not path.is_dir():
            known = ", ".join([*siblings, *phases]) or "none"
            tried = "" if near is None or runs_of(near) is None else f" (looked for: {looked_for(path, near)})"
            raise CheckpointError(
                f"parent: {shown(spec)} is neither a phase of this curriculum (known: {known}), nor a run or release "
                f"folder{tried}, nor models:/name@alias; give one of these under `parents`, or put it back"
            )
        folder = path if present(path / "release.json") else _of_run(path, spec)
    by_path = spec not in siblings and not spec.startswith("models:/")
    info = read_release(folder, verify=verify)
    return Parent(spec=spec, folder=folder, sha256=release_sha256(folder), info=info, by_path=by_path)


def _of_run(run: Path, spec: str) -> Path:
    if not finished(run):
        raise CheckpointError(f"parent: {shown(spec)} has no result in {run}: train it to its end first")
    result = RESULT.read(run / "result.json")
    folder = run / "release"
    if not folder.is_dir():
        raise CheckpointError(
            f"parent: {shown(spec)}: {folder} is missing; its result names sha256 {result.sha256[:12]}"
        )
    found = release_sha256(folder)
    if found != result.sha256:
        raise CheckpointError(
            f"parent: {shown(spec)}: {folder} has sha256 {found[:12]}, its result.json says {result.sha256[:12]}; "
            "the release was changed after training: train it again"
        )
    return folder


def open_parents(
    recipe: PhaseRecipe,
    siblings: Mapping[str, Path],
    registry: Resolver,
    *,
    verify: bool = True,
    only: Mapping[str, str] | None = None,
    near: Path | None = None,
    phases: Collection[str] = (),
) -> dict[str, Parent]:
    """component -> its parent, each opened once and checked against this phase's architecture. `only`: open just these
    (component -> spec). `near`, `phases`: as for `open_parent`."""
    wanted = parent_of(recipe) if only is None else only
    opened = {
        spec: open_parent(spec, siblings, registry, verify=verify, near=near, phases=phases)
        for spec in dict.fromkeys(wanted.values())
    }
    found = {component: opened[spec] for component, spec in wanted.items()}
    for component, parent in list(found.items()):
        check_parent(
            component,
            parent.spec,
            parent.info["shape"],
            parent.info["components"],
            recipe,
            adapter=bool(parent.info["base"]),
        )
        if component not in parent.info["components"]:  # it starts from random weights
            del found[component]
    return found


def check_lineage(run: Path, parents: Mapping[str, Parent]) -> None:
    """CheckpointError if a parent of the run in `run` is not the release that the run was started from."""
    recorded = RECIPE.read(run / "recipe.json").parents
    for component, parent in parents.items():
        known = recorded[component].sha256 if component in recorded else parent.sha256
        if known != parent.sha256:
            raise CheckpointError(
                f"parent: {run} was started from {parent.spec!r} with sha256 {known[:12]}, but {parent.folder} has "
                f"{parent.sha256[:12]}: put the right one back"
            )


def check_parent(
    component: str,
    spec: str,
    shape: Mapping[str, Any],
    components: Collection[str],
    recipe: PhaseRecipe,
    *,
    adapter: bool,
) -> None:
    """CheckpointError if a parent of `shape` with these `components` cannot bring `component`. A section of the shape
    of which it holds nothing may differ: what is optional begins anew."""
    ours = recipe.system.components(recipe)
    section = ours[component].section
    if any(one.section == section and name in components for name, one in ours.items()) or not ours[component].optional:
        check_shape(component, spec, shape, recipe, adapter=adapter)
    else:
        check_kind(spec, shape, section, adapter=adapter)
    check_brings(component, spec, components, recipe)


def check_brings(component: str, spec: str, components: Collection[str], recipe: PhaseRecipe) -> None:
    """CheckpointError if a parent with these `components` lacks one that a parent of the phase may not lack."""
    if component not in components and not recipe.system.components(recipe)[component].optional:
        available = ", ".join(sorted(components)) or "none"
        raise CheckpointError(f"parent: {shown(spec)} has no {component}, only {available}: choose another parent")


def check_shape(component: str, spec: str, shape: Mapping[str, Any], recipe: PhaseRecipe, *, adapter: bool) -> None:
    """CheckpointError if a parent of `shape` (as in release.json) has another architecture than the phase needs, or is
    only an `adapter`."""
    built = recipe.system.components(recipe)[component]
    theirs, ours = check_kind(spec, shape, built.section, adapter=adapter), shape_json(recipe)[built.section]
    different = sorted(key for key in ours if ours[key] != theirs.get(key))
    if different:
        key = different[0]
        own = getattr(recipe.model, key, None) is not None
        decides = f"`model.{key}`" if own else sizes_key(recipe.model, built.sized_by)
        raise CheckpointError(
            f"parent: {shown(spec)} is of another architecture: {built.section}.{key} is {shown(theirs.get(key))}, "
            f"this recipe's {decides} has {shown(ours[key])}; repeat the parent's `model`, which its release.json "
            "holds, or choose another parent"
        )


def check_kind(spec: str, shape: Mapping[str, Any], section: str, *, adapter: bool) -> Mapping[str, Any]:
    """The `section` of a parent's shape. CheckpointError if there is none, or if it is only an `adapter`."""
    if adapter:
        raise CheckpointError(f"parent: {shown(spec)} is a LoRA adapter, which no phase can start from: use its base")
    found = shape.get(section)
    if not isinstance(found, Mapping):
        raise CheckpointError(f"parent: {shown(spec)} is of another architecture: it has no {section}")
    return found


def check_codecs(component: str, parent: Parent, identities: Mapping[str, str], *, read: Collection[str]) -> None:
    """CheckpointError if a parent was trained on latents of other codecs than those that its component must `read`:
    their channels mean something else."""
    for part in read:
        theirs, ours = parent.info["codecs"].get(part), identities.get(part)
        if theirs is not None and ours is not None and theirs != ours:
            raise CheckpointError(
                f"parent: {shown(parent.spec)} was trained with {part} codec {named(theirs[:16])}, the data of "
                f"this phase with {ours[:16]}: its {component} would read other latents; prepare the data with the "
                "parent's (`codecs_from`), or choose another parent"
            )


def shape_json(recipe: PhaseRecipe) -> dict[str, Any]:
    """The sizes that determine the parameters, as release.json records them."""
    return {one.section: dict(one.shape) for one in recipe.system.components(recipe).values()}
