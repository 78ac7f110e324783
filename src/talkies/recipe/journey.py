"""A whole curriculum in one process: prepare, every phase, evaluation, promotion."""

from collections.abc import Callable
from pathlib import Path

from talkies.config.canonical import to_dict
from talkies.recipe.curriculum import Curriculum
from talkies.recipe.folders import locked, write_json
from talkies.recipe.preparation import Workshop, prepare_data
from talkies.recipe.result import commit
from talkies.recipe.run import UPLOAD_S, InterruptedRunError, Place, run_phase, unsent
from talkies.tracking.spool import Status, Tracker


def phase_folder(folder: Path, number: int, name: str) -> Path:
    """Where phase `number` (from 1) of a curriculum run works."""
    return folder / f"{number}-{name}"


def run_curriculum(
    curriculum: Curriculum,
    folder: Path,
    workshop: Workshop,
    *,
    say: Callable[[str], None],
    stop_after: str | None = None,
) -> dict[str, Path]:
    """Run or continue a curriculum in `folder`; returns phase name -> run folder. Finished phases are not repeated."""
    with locked(folder):
        root, report = prepare_data(curriculum.prepare, workshop, recipe_folder=curriculum.prepare_folder)
        say(f"prepared {report.summary()} in {root}")
        write_json(folder / "curriculum.json", {"recipe": to_dict(curriculum.recipe), "digest": curriculum.digest})
        tracker = parent_tracker(curriculum, folder, workshop)
        folders = {
            phase.name: phase_folder(folder, number, phase.name) for number, phase in enumerate(curriculum.phases, 1)
        }
        tracker.start_uploader(*folders.values())
        runs: dict[str, Path] = {}
        status: Status = "FAILED"
        try:
            for number, phase in enumerate(curriculum.phases, 1):
                place = Place(
                    folder=folders[phase.name],
                    data_root=root,
                    store=workshop.store,
                    artifacts=workshop.artifacts,
                    parent=folder,
                )
                sha256 = run_phase(phase, place, siblings=runs, registry=workshop.registry, bar=workshop.bar)
                runs[phase.name] = place.folder
                tracker.tags({f"phase.{phase.name}": sha256})
                say(f"phase {number}/{len(curriculum.phases)} {phase.name}: {phase.steps.max} steps, {sha256[:12]}")
                if phase.name == stop_after:
                    break
            status = "FINISHED"
        except InterruptedRunError:
            status = "KILLED"
            raise
        finally:
            tracker.status(status)
            if not tracker.close(deadline_s=UPLOAD_S):
                say(unsent(f"{folder} {folder}/*/"))
    return runs


def parent_tracker(curriculum: Curriculum, folder: Path, workshop: Workshop) -> Tracker:
    """The MLflow run of the curriculum itself: the parent of its phases' runs."""
    tracker = Tracker(
        folder,
        curriculum.phases[-1].tracking,
        name=curriculum.recipe.name,
        store=workshop.store,
        artifact_root=workshop.artifacts,
        parent_folder=None,
    )
    tracker.status("RUNNING")
    tracker.tags({"commit": commit(), "curriculum": curriculum.digest})
    tracker.artifact(folder / "curriculum.json", "recipe")
    return tracker
