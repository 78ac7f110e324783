"""talkies train RECIPE [key.path=value ...]: one phase, or every phase of a curriculum, in this process."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from talkies.cli.place import add_runs, lookups, registry_of, store_of, where_to_look
from talkies.cli.train_arguments import load_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from talkies.launch.job import SlurmJob
    from talkies.parallel.ranks import Ranks
    from talkies.recipe.config import PhaseRecipe
    from talkies.recipe.curriculum import Curriculum
    from talkies.runs.run_context import RunContext
    from talkies.runs.run_phase import InterruptedRunError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("recipe", type=Path, help="a phase recipe or a curriculum")
    parser.add_argument(
        "overrides", nargs="*", help="key.path=value; in a curriculum PHASE.key..., phases.key... or prepare.key..."
    )
    add_runs(parser)
    parser.add_argument("--new", action="store_true", help="start another run instead of continuing the newest")
    parser.add_argument("--folder", type=Path, help="run in this folder of RUNS/NAME-HASH, as the jobs of `submit` do")
    parser.add_argument(
        "--phase", metavar="NAME", help="train only this phase of a curriculum; those before must be done"
    )
    parser.add_argument("--stop-at", type=int, metavar="STEP", help="stop a phase recipe after this optimizer step")
    parser.add_argument("--no-promote", action="store_true", help="leave a curriculum's result unpromoted")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> int:
    """Train, and print where the result is."""
    from talkies.config import Interruption
    from talkies.launch.job import PREEMPTED, this_job
    from talkies.parallel.world import world_of
    from talkies.signals.answer import requeue_by

    job = this_job(main=world_of().main)
    if job is None:
        return _run(args, None)
    requeue_by(job.preempted)  # before torch is imported: a signal must not end a job that is still starting
    try:
        return _run(args, job)
    except Interruption as error:
        if error.name != PREEMPTED:
            raise
        job.preempted()
        return 0


def _run(args: argparse.Namespace, job: "SlurmJob | None") -> int:
    recipe = load_recipe(args)  # before torch is imported, which takes seconds
    from talkies.recipe.config import PhaseRecipe
    from talkies.runs.folders import removed_if_empty
    from talkies.runs.run_phase import InterruptedRunError
    from talkies.signals.answer import check_signal

    check_signal()
    try:
        with removed_if_empty(args.runs):
            return _phase(args, recipe, job) if isinstance(recipe, PhaseRecipe) else _curriculum(args, recipe, job)
    except InterruptedRunError as error:
        return _stopped(error, job)


def _stopped(error: "InterruptedRunError", job: "SlurmJob | None") -> int:
    """End the process, or requeue its job, after the run was stopped at the end of a step."""
    from talkies.launch.job import PREEMPTED
    from talkies.parallel.world import world_of

    if job is not None and error.cause == PREEMPTED:
        if job.main:
            print(f"{error}; job {job.id} queues itself again")
        job.requeue()
        return 0
    if error.cause.startswith("SIG"):
        raise KeyboardInterrupt(str(error)) from None
    if world_of().main:
        print(error)
    return 0


def _context(args: argparse.Namespace, uri: str | None, ranks: "Ranks") -> "RunContext":
    """The context of the run, once the tracking store is known to open."""
    from talkies.models.systems import SYSTEMS
    from talkies.runs.run_context import RunContext
    from talkies.tracking.store_check import check_opens

    store, artifacts = store_of(args.runs, uri)
    ranks.agree(check_opens if ranks.main else None, store)
    bar = not args.quiet and sys.stdout.isatty()
    return RunContext(
        runs=args.runs,
        store=store,
        artifacts=artifacts,
        registry=registry_of(args.runs, uri),
        bar=bar,
        systems=SYSTEMS,
    )


def _curriculum(args: argparse.Namespace, curriculum: "Curriculum", job: "SlurmJob | None") -> int:
    from talkies.cli.attempt import may_begin
    from talkies.cli.ranks import with_ranks
    from talkies.parallel.machine import check_machine
    from talkies.runs.lookup import check_curriculum_of
    from talkies.runs.run_curriculum import phase_folder

    for phase in curriculum.phases:
        check_machine(phase.parallel, bf16=phase.precision == "bf16")
    if args.folder is not None:
        check_curriculum_of(args.folder, curriculum)
    wanted = {phase.name: phase.parallel.ranks for phase in curriculum.phases}
    if args.phase is not None:
        phase = curriculum.known_phase(args.phase)
        wanted = {phase.name: wanted[phase.name]}
        number = curriculum.phases.index(phase) + 1
        if args.folder is not None and not may_begin(job, phase, phase_folder(args.folder, number, phase.name)):
            return 0
    return with_ranks(args.argv, wanted, partial(_train_curriculum, args, curriculum, job))


def _train_curriculum(
    args: argparse.Namespace, curriculum: "Curriculum", job: "SlurmJob | None", ranks: "Ranks"
) -> int:
    from talkies.runs.lookup import curriculum_of
    from talkies.runs.run_curriculum import run_curriculum

    folder = args.folder or ranks.first(lambda: curriculum_of(args.runs, curriculum, new=args.new))
    context = _context(args, curriculum.phases[-1].tracking.uri, ranks)
    on_hang = None if job is None else job.requeue_hung
    options = {"only": args.phase, "ranks": ranks, "on_hang": on_hang}
    runs = run_curriculum(curriculum, folder, context, say=_say(ranks), **options)
    complete = args.phase in (None, curriculum.phases[-1].name)
    if curriculum.recipe.promote and complete and not args.no_promote:
        from talkies.runs.run_promotion import promote_run
        from talkies.runs.run_sample import sample_heldout, suffix_of

        run, tracking = runs[curriculum.recipe.promote], curriculum.phase(curriculum.recipe.promote).tracking
        spec = promote_run(
            run,
            expect=None,
            tracking=tracking,
            ranks=ranks,
            **lookups(args.runs, context.store, source=str(run)),
        )
        out = folder / f"sample{suffix_of(curriculum.phase(curriculum.recipe.promote))}"
        sample_heldout(spec, run, registry=context.registry, out=out, ranks=ranks, systems=context.systems)
    _say(ranks)(f"run folder: {folder}")
    for line in where_to_look(folder, context.store) if ranks.main else ():
        print(f"MLflow:     {line}")
    return 0


def _phase(args: argparse.Namespace, recipe: "PhaseRecipe", job: "SlurmJob | None") -> int:
    from talkies.cli.attempt import may_begin
    from talkies.cli.ranks import with_ranks
    from talkies.parallel.machine import check_machine
    from talkies.runs.lookup import check_run_of

    check_machine(recipe.parallel, bf16=recipe.precision == "bf16")
    if args.folder is not None:
        check_run_of(args.folder, recipe)
        if not may_begin(job, recipe, args.folder):
            return 0
    return with_ranks(args.argv, {recipe.name: recipe.parallel.ranks}, partial(_train_phase, args, recipe, job))


def _train_phase(args: argparse.Namespace, recipe: "PhaseRecipe", job: "SlurmJob | None", ranks: "Ranks") -> int:
    from talkies.runs.lookup import run_of
    from talkies.runs.place import Place
    from talkies.runs.run_phase import run_phase

    assert recipe.data.root is not None
    folder = args.folder or ranks.first(lambda: run_of(args.runs, recipe, new=args.new))
    context = _context(args, recipe.tracking.uri, ranks)
    place = Place(folder=folder, data_root=Path(recipe.data.root), store=context.store, artifacts=context.artifacts)
    options = {"stop_at": args.stop_at, "bar": context.bar, "say": _say(ranks), "ranks": ranks}
    options["on_hang"] = None if job is None else job.requeue_hung
    sha256 = run_phase(recipe, place, siblings={}, registry=context.registry, **options)
    _say(ranks)(f"run folder: {folder}\nrelease:    {folder / 'release'} sha256 {sha256[:16]}")
    for line in where_to_look(folder, context.store) if ranks.main else ():
        print(f"MLflow:     {line}")
    return 0


def _say(ranks: "Ranks") -> "Callable[[str], None]":
    """A function that prints in the main process only."""
    return print if ranks.main else lambda _: None
