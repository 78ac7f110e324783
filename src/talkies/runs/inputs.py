"""What a phase reads, opened and checked against its recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from talkies.codecs.load import load_codecs
from talkies.data.shards import ShardSet
from talkies.data.substitutes import open_to_train
from talkies.recipe.check import check, check_heldout_clips
from talkies.recipe.components import codecs_read, parts
from talkies.recipe.config import PhaseRecipe
from talkies.runs.host_check import check_step, check_workers
from talkies.runs.parents import Parent, check_codecs
from talkies.runs.release_codecs import carried
from talkies.streams.codec import Codecs


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a phase reads: its shards, the held-out ones, the codecs of both and the folder of the fitted ones, and its
    parents by component. `carried`: identities of the codecs that its release carries; empty in a process that has not
    verified them."""

    shards: ShardSet
    heldout: ShardSet
    codecs: Codecs
    codecs_folder: Path
    parents: Mapping[str, Parent]
    carried: Mapping[str, str] = field(default_factory=dict)


def open_inputs(recipe: PhaseRecipe, data_root: Path, parents: Mapping[str, Parent], *, verify: bool = True) -> Inputs:
    """Open the phase's shard sets and codecs. `verify`: hash them, too; one process does this for all.

    Raises DataError for missing or mismatched shards, for more bad training clips than the recipe allows, and for any
    damage to the held-out set; RecipeError if the recipe contradicts itself; CheckpointError for a parent that was
    trained with other codecs.
    """
    check(recipe)
    check_workers(recipe)
    reads = parts(recipe)
    to_carry = carried(recipe.codecs, data_root) if verify else {}
    folder = data_root / "codecs"
    codecs = load_codecs(recipe.codecs, folder, names=codecs_read(recipe))
    identities = codecs.identities
    sets, share = data_root / "sets", recipe.survival.quarantine.share
    shards = open_to_train(sets / recipe.data.shards, reads.read, share=share, verify=verify)
    heldout = ShardSet.open(sets / recipe.data.heldout, verify=verify)
    for shard_set, streams in ((shards, reads.read), (heldout, reads.held_out)):
        shard_set.check(codec_identities=identities, geometry=recipe.data.geometry, streams=streams)
    check_heldout_clips(recipe, len(heldout))
    check_step(recipe, shards)
    for component, parent in parents.items():
        check_codecs(component, parent, identities, read=recipe.system.components(recipe)[component].reads)
    return Inputs(
        shards=shards, heldout=heldout, codecs=codecs, codecs_folder=folder, parents=parents, carried=to_carry
    )
