"""A whole curriculum in one process: prepare, every phase, evaluation, promotion."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from talkies.config import CheckpointError
from talkies.config.canonical import to_dict
from talkies.config.quoting import shown
from talkies.files.durable import write_json
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.prepare.report import Report
from talkies.recipe.curriculum import Curriculum
from talkies.runs.folders import finished, locked
from talkies.runs.lookup import CURRICULUM_FILE, same_curriculum
from talkies.runs.place import Place
from talkies.runs.preflight import check_before, check_prepared
from talkies.runs.recorded import values_of
from talkies.runs.records import CURRICULUM
from talkies.runs.result import commit
from talkies.runs.run_context import RunContext, prepare_data
from talkies.runs.run_phase import closing_with_status, run_phase
from talkies.tracking.spool import Tracker


def phase_folder(folder: Path, number: int, name: str) -> Path:
    """The folder of phase `number` (from 1) of a curriculum run."""
    return folder / f"{number}-{name}"


def phase_folders(curriculum: Curriculum, folder: Path) -> dict[str, Path]:
    """Name -> folder of every phase of a curriculum run, in order."""
    return {p.name: phase_folder(folder, number, p.name) for number, p in enumerate(curriculum.phases, 1)}


def run_curriculum(
    curriculum: Curriculum,
    folder: Path,
    context: RunContext,
    *,
    say: Callable[[str], None],
    only: str | None = None,
    ranks: Ranks | None = None,
    on_hang: Callable[[], None] | None = None,
) -> dict[str, Path]:
    """Run or continue a curriculum in `folder`; returns phase name -> run folder. Finished phases are not repeated.
    `only`: train that phase alone, from those before it; CheckpointError if one of them is not finished.

    Every process calls it; the main one (of `ranks`) locks the folder, prepares the data and writes all records.
    `on_hang`: as for `run_phase`.
    """
    ranks = ranks or Ranks(ALONE)
    folders = phase_folders(curriculum, folder)
    runs: dict[str, Path] = {}
    with ExitStack() as resources:
        ranks.agree((lambda: resources.enter_context(locked(folder))) if ranks.main else None)
        if only is not None:
            ranks.agree(_require_earlier if ranks.main else None, folders, only)
        root = ranks.first(lambda: _checked_data_root(curriculum, context, folder, folders, say))
        tracker = None
        if ranks.main:
            tracker = resources.enter_context(
                _running_tracker(curriculum, folder, folders, context, say=say, only=only)
            )
        for number, phase in enumerate(curriculum.phases, 1):
            if only not in (None, phase.name):
                runs[phase.name] = folders[phase.name]
                continue
            place = Place(
                folder=folders[phase.name],
                data_root=root,
                store=context.store,
                artifacts=context.artifacts,
                parent=folder,
            )
            sha256 = run_phase(
                phase,
                place,
                siblings=runs,
                registry=context.registry,
                bar=context.bar,
                say=say,
                ranks=ranks,
                on_hang=on_hang,
            )
            runs[phase.name] = place.folder
            say(f"phase {number}/{len(curriculum.phases)} {phase.name}: {phase.steps.max} steps, {sha256[:12]}")
            if tracker is not None:
                tracker.tags({f"phase.{phase.name}": sha256})
            if phase.name == only:
                break
    return runs


def _require_earlier(folders: Mapping[str, Path], only: str) -> None:
    """CheckpointError if a phase before `only` is not finished."""
    for name, folder in folders.items():
        if name == only:
            return
        if not finished(folder):
            raise CheckpointError(
                f"train: phase {shown(only)} comes after {shown(name)}, which is not finished in {folder}: train "
                "that first"
            )


def _checked_data_root(
    curriculum: Curriculum, context: RunContext, folder: Path, folders: Mapping[str, Path], say: Callable[[str], None]
) -> Path:
    """The prepared data root. An error that would stop any phase is raised here, before the first one begins."""
    parents = check_before(curriculum, folders, context.registry)
    root, report = _prepared(curriculum, context, folder, say)
    check_prepared(curriculum, folders, root, report, parents)
    return root


def _prepared(
    curriculum: Curriculum, context: RunContext, folder: Path, say: Callable[[str], None]
) -> tuple[Path, Report]:
    """Prepare the data root of the curriculum, and write curriculum.json in `folder`."""
    root, report = prepare_data(curriculum.prepare, context, recipe_folder=curriculum.prepare_folder)
    say(f"prepared {report.summary()} in {root}")
    record_curriculum(curriculum, folder / CURRICULUM_FILE)
    return root, report


def record_curriculum(curriculum: Curriculum, path: Path) -> None:
    """Write curriculum.json. A digest that is already recorded stays, because it identifies the run. CheckpointError if
    another curriculum is recorded: a default that has changed may give one the name of another."""
    known = CURRICULUM.find(path)
    if known is not None and known.prepare is not None and not same_curriculum(path.parent, curriculum):
        raise CheckpointError(
            f"resume: {path.parent} was started with another curriculum; continue it unchanged, or start a new "
            "run (--new)"
        )
    digest = curriculum.digest if known is None else known.digest
    members = {"prepare": values_of(curriculum.located), "phases": [values_of(phase) for phase in curriculum.phases]}
    write_json(path, {"recipe": to_dict(curriculum.recipe), "digest": digest, **members})


@contextmanager
def _running_tracker(
    curriculum: Curriculum,
    folder: Path,
    folders: Mapping[str, Path],
    context: RunContext,
    *,
    say: Callable[[str], None],
    only: str | None,
) -> Iterator[Tracker]:
    """The curriculum's tracker, whose uploader also serves its phases."""
    tracker = parent_tracker(curriculum, folder, context)
    names = [*folders]
    last = len(names) if only is None else names.index(only) + 1
    tracker.start_uploader(*(folders[name] for name in names[:last]))  # it would wait for a later phase, of another job
    with closing_with_status(tracker, f"{folder} {folder}/*/", say, done=lambda: all(map(finished, folders.values()))):
        yield tracker


def parent_tracker(curriculum: Curriculum, folder: Path, context: RunContext) -> Tracker:
    """The MLflow run of the curriculum itself: the parent of its phases' runs."""
    tracker = Tracker(
        folder,
        curriculum.phases[-1].tracking,
        name=curriculum.recipe.name,
        store=context.store,
        artifact_root=context.artifacts,
        parent_folder=None,
    )
    tracker.status("RUNNING")
    tracker.tags({"commit": commit(), "curriculum": CURRICULUM.read(folder / CURRICULUM_FILE).digest})
    tracker.artifact(folder / CURRICULUM_FILE, "recipe")
    return tracker
