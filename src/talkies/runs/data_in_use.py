"""The sets and codecs that runs beside a data root depend on. Preparing the data again leaves these unchanged."""

import logging
from pathlib import Path

from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.release import read_release
from talkies.checkpoints.store import CheckpointStore
from talkies.config import UserError
from talkies.config.regular_files import resolved
from talkies.data.index import read_index
from talkies.prepare.jobs import InUse
from talkies.recipe.config import Systems
from talkies.runs.folders import finished
from talkies.runs.inputs_record import FACTS
from talkies.runs.inputs_record import FILE as FACTS_FILE
from talkies.runs.place import place_of
from talkies.runs.recorded import recipe_of_run

_log = logging.getLogger(__name__)


def used_by_runs(runs: Path, root: Path, systems: Systems) -> InUse:
    """The sets and codecs in the data root `root` that runs in the folder `runs` were started with. A run with damaged
    records is not counted, and a warning names it."""
    sets: set[str] = set()
    codecs: set[str] = set()
    for run in sorted(path.parent for depth in ("*/*", "*/*/*") for path in runs.glob(f"{depth}/place.json")):
        try:
            if resolved(place_of(run).data_root) == resolved(root):
                found = _of(run, root, systems)
                sets |= found.sets
                codecs |= found.codecs
        except UserError as error:
            _log.warning("prepare: cannot determine which data %s was started with: %s", run, error)
    return InUse(sets=frozenset(sets), codecs=frozenset(codecs))


def _of(run: Path, root: Path, systems: Systems) -> InUse:
    """The sets and codecs that a run still uses; none if the set that it trains on has changed."""
    recipe = recipe_of_run(run, systems)
    folders = [root / "sets" / name for name in (recipe.data.shards, recipe.data.heldout)]
    indices = [read_index(folder) for folder in folders]
    if indices[0].fingerprint != _trained_on(run):
        return InUse()
    codecs = {identity for index in indices for identity in index.header["codecs"].values()}
    return InUse(sets=frozenset(index.fingerprint for index in indices), codecs=frozenset(codecs))


def _trained_on(run: Path) -> str | None:
    """The fingerprint of the set that a run trains on; None if it has saved nothing yet."""
    facts = FACTS.find(run / FACTS_FILE)
    if facts is not None:
        return facts.data.fingerprint
    if finished(run):
        return str(read_release(run / "release", verify=False)["data"]["fingerprint"])
    steps = CheckpointStore(run / "checkpoints").steps()
    if not steps:
        return None
    return str(read_loop(CheckpointStore(run / "checkpoints").path(steps[-1]))["data"]["fingerprint"])
