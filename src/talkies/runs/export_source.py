"""What `talkies export --layout` writes: a release, with its base if it is an adapter, in a form of folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkies.checkpoints.bases import base_folder
from talkies.checkpoints.release import read_release
from talkies.config import CheckpointError, RecipeError
from talkies.config.decode import one_of
from talkies.config.quoting import listed, shown
from talkies.config.records import present
from talkies.recipe.config import PhaseRecipe, Systems
from talkies.runs.folders import finished
from talkies.runs.located import refuse_many, refuse_releases
from talkies.runs.parents import Resolver
from talkies.runs.recorded import recipe_of_release
from talkies.streams.layout import Layout, by_folder


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A `release`; `whole` has its components: the base of an adapter, else the release itself. `info` of the
    release and `held` of `whole` are the contents of their release.json."""

    release: Path
    whole: Path
    recipe: PhaseRecipe
    info: Mapping[str, Any]
    held: Mapping[str, Any]

    @property
    def adapter(self) -> bool:
        """Whether it is one, over the components of `whole`."""
        return self.release != self.whole

    def came_from(self, layout: str) -> bool:
        """Whether the components were imported from this layout."""
        imported = self.held.get("imported")
        return imported is not None and imported["layout"] == layout

    def verify(self) -> None:
        """CheckpointError for a damaged file of `release` or `whole`; reads them all."""
        for folder in {self.release, self.whole}:
            read_release(folder)


def open_exported(spec: str, registry: Resolver, systems: Systems) -> Exported:
    """Open the release that `spec` names: itself, a finished run, or models:/name@alias; no weights are read. Raises
    CheckpointError if it, or the base of an adapter, is missing."""
    release = release_of(spec, registry)
    info = read_release(release, verify=False)
    recipe = recipe_of_release(release, info, systems)
    if not info["adapter"]:
        return Exported(release=release, whole=release, recipe=recipe, info=info, held=info)
    whole = base_folder(release, info["base"])
    return Exported(release=release, whole=whole, recipe=recipe, info=info, held=read_release(whole, verify=False))


def release_of(spec: str, registry: Resolver) -> Path:
    """The folder of the release that `spec` names, as `open_exported` has it; it is not opened."""
    if spec.startswith("models:/"):
        return registry(spec)
    path = Path(spec)
    if not path.is_dir():
        raise CheckpointError(
            f"export: {shown(spec)} is not a folder; give a release, a finished run or models:/name@alias"
        )
    if present(path / "release.json"):
        return path
    if finished(path) and (path / "release").is_dir():
        return path / "release"
    if present(path / "recipe.json") or present(path / "manifest.json"):
        raise CheckpointError(
            f"export: {path} has no release yet: talkies export {path} --consolidate --out RELEASE makes one"
        )
    refuse_many("export", path)
    refuse_releases("export", path)
    return path  # what reads it says what is missing


def layout_of(exported: Exported, name: str) -> Layout:
    """The layout of this name. RecipeError if the system of what is exported has none, or no such one."""
    system = exported.recipe.system
    if not system.layouts:
        raise RecipeError(
            f"export: {exported.release}: talkies knows no released folders of {system.kind}: drop --layout"
        )
    if name not in system.layouts:
        raise RecipeError(f"export: --layout {shown(name)} is not known{one_of(name, system.layouts)}")
    return system.layouts[name]


def chosen(exported: Exported, layout: Layout, name: str, wanted: Sequence[str] | None) -> list[str]:
    """The components to write: those `wanted`, else all that there are, in the order of the layout. RecipeError for
    one that is not there, or that the layout does not have, and for sizes that it cannot say."""
    there = list(exported.held["components"])
    for component in wanted or ():
        if component not in there:
            raise RecipeError(
                f"export: --components {shown(component)}: {exported.whole} has no such component"
                f"{one_of(component, there)}"
            )
    check_said(exported, layout, name, [component for component in wanted or there if component in layout.components])
    strange = [component for component in wanted or there if component not in layout.components]
    if strange:
        possible = [component for component in layout.components if component in there]
        hint = f"choose with --components {','.join(possible)}" if possible else "choose another --layout"
        raise RecipeError(f"export: a {name} folder has no {listed(strange)}: {hint}")
    found = [component for component in layout.components if component in (wanted or there)]
    for folder, inside in by_folder(layout.components).items():
        lacking = [component for component in inside if component not in found]
        if 0 < len(lacking) < len(inside):
            raise RecipeError(
                f"export: --components leaves out {listed(lacking)}, and {folder}/ of a {name} folder holds "
                f"{listed([*inside])} together: name them all"
            )
    return found


def check_said(exported: Exported, layout: Layout, name: str, components: Sequence[str]) -> None:
    """RecipeError if the layout cannot say what these components are."""
    try:
        for component in components:
            layout.config(component, exported.recipe.model)
    except ValueError as error:
        raise RecipeError(f"export: a {name} folder cannot say what {exported.release} is: {error}") from None
