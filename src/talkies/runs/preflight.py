"""Checks of a curriculum's phases against the disk, the registry and the prepared data, before the first one begins."""

from collections.abc import Collection, Mapping
from pathlib import Path

from talkies.codecs.identity import config_values
from talkies.config import DataError
from talkies.config.canonical import difference, first_names
from talkies.config.quoting import named, shown
from talkies.data.shards import ShardSet
from talkies.prepare.report import Report
from talkies.recipe.check import check_heldout_clips
from talkies.recipe.components import codecs_read, parent_of, parts
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.curriculum import Curriculum
from talkies.runs.curriculum_check import check_recipes, of_phase
from talkies.runs.disk_space import check_disk_space_for_all
from talkies.runs.folders import finished
from talkies.runs.parents import Parent, Resolver, check_codecs, open_parents
from talkies.tracking.names import parse_spec


def unfinished(curriculum: Curriculum, folders: Mapping[str, Path]) -> dict[Path, PhaseRecipe]:
    """Folder -> recipe of the phases that are still to be trained."""
    return {folders[phase.name]: phase for phase in curriculum.phases if not finished(folders[phase.name])}


def check_before(
    curriculum: Curriculum, folders: Mapping[str, Path], registry: Resolver
) -> dict[str, Mapping[str, Parent]]:
    """Checks before the preparation: the recipes, disk space for all phases, and the parents from outside the
    curriculum, each verified. Returns phase -> component -> parent. Raises what the first impossible phase would raise.
    """
    remaining = unfinished(curriculum, folders)
    done = {phase.name for phase in curriculum.phases} - {phase.name for phase in remaining.values()}
    check_recipes(curriculum, done=done)
    check_disk_space_for_all(remaining)
    found: dict[str, Mapping[str, Parent]] = {}
    names = [phase.name for phase in curriculum.phases]
    for phase in remaining.values():
        with of_phase(phase.name):
            elsewhere = from_elsewhere(curriculum, phase)
            earlier = names[: names.index(phase.name)]
            found[phase.name] = open_parents(phase, {}, registry, only=elsewhere, phases=earlier)
    return found


def from_elsewhere(curriculum: Curriculum, phase: PhaseRecipe) -> dict[str, str]:
    """component -> its parent, for parents that are not phases of the curriculum."""
    names = {phase.name for phase in curriculum.phases}
    return {component: spec for component, spec in parent_of(phase).items() if spec not in names}


def check_prepared(
    curriculum: Curriculum,
    folders: Mapping[str, Path],
    root: Path,
    report: Report,
    parents: Mapping[str, Mapping[str, Parent]],
) -> None:
    """Checks after the preparation, which has verified its sets: each phase has the clips that it asks for, encoded by
    the codecs that its parents were trained with.

    Raises RecipeError for a set with too few clips, DataError for a set that does not match the phase, CheckpointError
    for a parent of other codecs.
    """
    sets: dict[str, ShardSet] = {}
    for phase in unfinished(curriculum, folders).values():
        identities = {part: report.codecs[part] for part in sorted(codecs_read(phase))}
        with of_phase(phase.name):
            for name, streams in _read(phase):
                if name not in sets:
                    sets[name] = ShardSet.open(root / "sets" / name, verify=False)
                sets[name].check(identities, phase.data.geometry, streams)
            check_heldout_clips(phase, len(sets[phase.data.heldout]))
            for component, parent in parents[phase.name].items():
                read = phase.system.components(phase)[component].reads
                check_codecs(component, parent, identities, read=read)


def _read(phase: PhaseRecipe) -> list[tuple[str, tuple[str, ...]]]:
    """The sets of a phase, and the streams that it reads of each."""
    reads = parts(phase)
    return [(phase.data.shards, reads.read), (phase.data.heldout, reads.held_out)]


def check_before_submit(recipe: PhaseRecipe, folder: Path, *, siblings: Collection[str] = ()) -> None:
    """Checks that the submitting machine can make: the phase's sets if `data.root` exists here, the releases and runs
    that it starts from (not hashed), and the form of registry specs. Raises as training would."""
    root = None if recipe.data.root is None else Path(recipe.data.root)
    if root is not None and root.is_dir():
        check_root(recipe, root)
    elsewhere = {component: spec for component, spec in parent_of(recipe).items() if spec not in siblings}
    for spec in elsewhere.values():
        if spec.startswith("models:/"):
            parse_spec(spec)
    local = {component: spec for component, spec in elsewhere.items() if not spec.startswith("models:/")}
    if not finished(folder):
        open_parents(recipe, {}, Path, verify=False, only=local, phases=siblings)


def check_root(recipe: PhaseRecipe, root: Path) -> None:
    """Check by their indices that the sets of a phase are in the data root and match the phase. No shard is read.

    Raises DataError for a set that is missing, does not match or was encoded by another codec, RecipeError for too few
    held-out clips.
    """
    for name, streams in _read(recipe):
        found = ShardSet.open(root / "sets" / name, verify=False)
        found.check(codec_identities={}, geometry=recipe.data.geometry, streams=streams)
        for part in sorted(codecs_read(recipe)):
            codec = recipe.codecs[part]
            if pairs := difference(config_values(codec), found.header.codec_configs.get(part, {})):
                names = first_names(codec)
                values = "; ".join(
                    f"`codecs.{part}.{named(names.get(key, key))}` is {shown(a)}, not {shown(b)}"
                    for key, (a, b) in pairs.items()
                )
                raise DataError(
                    f"data: shard set {shown(name)} ({found.folder}) was encoded with another {part} codec than the "
                    f"recipe's: {values}: prepare it again, or set `codecs.{part}` to what encoded it"
                )
    check_heldout_clips(recipe, len(found))
