"""Run one phase in its folder: adopt or begin, train, export the result, and keep the books."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from talkies.config import CheckpointError
from talkies.config.canonical import recipe_hash, to_dict
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.folders import finished, locked, read_json, write_json
from talkies.recipe.parents import Parent, Resolver, open_parents
from talkies.recipe.result import commit, export, write_result
from talkies.recipe.train import Inputs, open_inputs, train
from talkies.tracking.spool import Status, Tracker

UPLOAD_S = 10.0
"""How long a run waits at its end for the uploader."""


class InterruptedRunError(Exception):
    """The run was stopped at a step boundary and can be continued with the same command."""

    def __init__(self, folder: Path, step: int, cause: str) -> None:
        super().__init__(f"{folder} stopped by {cause} after step {step}; the same command continues it")
        self.cause = cause


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run works: its folder, the prepared data, the tracking store, and the curriculum's folder, if any."""

    folder: Path
    data_root: Path
    store: str
    artifacts: Path | None
    parent: Path | None = None


def place_of(run: Path) -> Place:
    """Where a run works, as its place.json says. CheckpointError where that is missing or damaged."""
    found = read_json(run / "place.json")
    artifacts = found.get("artifacts")
    return Place(
        folder=run,
        data_root=Path(found["data_root"]),
        store=found["store"],
        artifacts=None if artifacts is None else Path(artifacts),
    )


def unsent(folders: str) -> str:
    """What is said of runs whose uploader has not sent everything."""
    return (
        "tracking: not everything is sent yet; a side process tries for 10 more minutes, and "
        f"`talkies replay {folders}` sends the rest"
    )


def open_tracker(recipe: PhaseRecipe, place: Place, *, training: bool = True) -> Tracker:
    """The tracker of a phase run; `training` False for a verb that only adds measurements to it."""
    return Tracker(
        place.folder,
        recipe.tracking,
        name=recipe.name,
        store=place.store,
        artifact_root=place.artifacts,
        parent_folder=place.parent,
        training=training,
    )


def adopt(recipe: PhaseRecipe, folder: Path, parents: Mapping[str, Parent]) -> None:
    """Write the run's recipe and lineage, or check that the folder holds the same ones.

    Raises CheckpointError where a resumed run would change its recipe or its parents.
    """
    lineage = {component: parent.lineage() for component, parent in sorted(parents.items())}
    wanted = {"recipe": to_dict(recipe), "recipe_hash": recipe_hash(recipe), "parents": lineage, "commit": commit()}
    path = folder / "recipe.json"
    if not path.exists():
        write_json(path, wanted)
        return
    found = read_json(path)
    for key in ("recipe_hash", "parents"):
        if found[key] != wanted[key]:
            raise CheckpointError(
                f"resume: {folder} was begun with other {key} than now; continue it unchanged, or start anew with --new"
            )


def describe(tracker: Tracker, recipe: PhaseRecipe, inputs: Inputs, folder: Path) -> None:
    """Parameters, tags and the resolved recipe of a run."""
    steps = recipe.steps
    tracker.params(
        {
            "phase": recipe.phase.kind,
            "recipe_hash": recipe_hash(recipe),
            "preset": recipe.model.preset,
            "bridge": recipe.model.bridge,
            "steps": steps.max,
            "global_batch": steps.global_batch,
            "lr.towers": recipe.optimizer.lr.towers,
            "lr.bridge": recipe.optimizer.lr.bridge,
            "shift.video": recipe.flow.video.shift,
            "shift.audio": recipe.flow.audio.shift,
            "text_dropout": recipe.phase.text_dropout,
            "seed": recipe.seed,
        }
    )
    tags = {"commit": commit(), "data": inputs.shards.fingerprint, "heldout": inputs.heldout.fingerprint}
    tags |= {f"parent.{component}": parent.sha256 for component, parent in inputs.parents.items()}
    tracker.tags({**tags, "run_folder": str(folder)})
    tracker.artifact(folder / "recipe.json", "recipe")


def run_phase(
    recipe: PhaseRecipe,
    place: Place,
    *,
    siblings: Mapping[str, Path],
    registry: Resolver,
    stop_at: int | None = None,
    bar: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> str:
    """Train a phase to its end (or continue it) and return its release's sha256; a finished one is only read.

    `say` is told where not everything reached the tracking server. Raises InterruptedRunError where a signal or
    `stop_at` ended it early.
    """
    folder = place.folder
    with locked(folder):
        parents = open_parents(recipe, siblings, registry)
        if finished(folder):
            adopt(recipe, folder, parents)
            return str(read_json(folder / "result.json")["sha256"])
        inputs = open_inputs(recipe, place.data_root, parents)
        adopt(recipe, folder, parents)
        artifacts = None if place.artifacts is None else str(place.artifacts.resolve())
        where = {"data_root": str(place.data_root.resolve()), "store": place.store, "artifacts": artifacts}
        write_json(folder / "place.json", where)
        tracker = open_tracker(recipe, place)
        if place.parent is None:  # a curriculum has one uploader for all its phases
            tracker.start_uploader()
        status: Status = "FAILED"
        try:
            tracker.status("RUNNING")
            describe(tracker, recipe, inputs, folder)
            outcome, phase, saving = train(recipe, inputs, folder, tracker, stop_at=stop_at, bar=bar)
            if outcome.step < recipe.steps.max:
                status = "KILLED"
                raise InterruptedRunError(folder, outcome.step, outcome.stopped_by or "the trainer")
            sha256 = export(recipe, inputs, folder, phase, saving, data_root=place.data_root)
            tracker.tags({"release.sha256": sha256})
            write_result(folder, step=outcome.step, sha256=sha256, metrics=tracker.last)
            status = "FINISHED"
        finally:
            tracker.status(status)
            sent = tracker.close(deadline_s=UPLOAD_S if place.parent is None else 0.0)
            if not sent and place.parent is None:
                say(unsent(str(folder)))
    return sha256
