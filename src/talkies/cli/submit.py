"""talkies submit RECIPE --site SITE: plan, then queue the jobs of a recipe under Slurm, each after the one before."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from talkies.cli.place import RUNS, add_runs
from talkies.config.quoting import shown
from talkies.config.regular_files import resolved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from talkies.launch.chain import Chain, ChainJob
    from talkies.launch.config import SiteConfig
    from talkies.launch.script import JobContext, Part
    from talkies.recipe.config import PhaseRecipe
    from talkies.recipe.curriculum import Curriculum


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("recipe", type=Path, help="a phase, a curriculum or a preparation")
    parser.add_argument(
        "overrides", nargs="*", help="key.path=value; in a curriculum PHASE.key..., phases.key... or prepare.key..."
    )
    parser.add_argument("--site", type=Path, required=True, help="the site profile: a YAML file of `kind: site`")
    add_runs(parser)
    parser.add_argument("--new", action="store_true", help="start another run instead of continuing the newest")
    parser.add_argument("--prepare", action="store_true", help="only the preparation of a curriculum")
    parser.add_argument("--no-promote", action="store_true", help="leave a curriculum's result unpromoted")
    parser.add_argument("--dry-run", action="store_true", help="print the scripts; queue and write nothing")


@dataclass(frozen=True, kw_only=True)
class SubmitRequest:
    """A call of `submit`: the arguments, the site, the runs folder, and the overrides including those of the site."""

    args: argparse.Namespace
    site: "SiteConfig"
    runs: Path
    overrides: list[str]

    def words(self, verb: str, *more: str) -> list[str]:
        """The command line of a job."""
        recipe = str(resolved(self.args.recipe))
        return [verb, recipe, *self.overrides, "--runs", str(self.runs), "--quiet", *more]


def run(args: argparse.Namespace) -> int:
    """Plan, render, submit, and print the job ids."""
    from talkies.config import RecipeError
    from talkies.config.source import unresolved
    from talkies.launch.site import load_site
    from talkies.recipe.config import kind_of

    site = load_site(args.site)
    given = Path(site.runs).expanduser() if site.runs is not None and args.runs is RUNS else args.runs
    kind = kind_of(unresolved(args.recipe))
    if args.prepare and kind == "phase":
        raise RecipeError("submit: --prepare takes a curriculum or a preparation; drop it")
    request = SubmitRequest(args=args, site=site, runs=resolved(given), overrides=list(args.overrides))
    make = {"phase": _phase, "curriculum": _curriculum, "prepare": _prepare}[kind]
    return _submit(args, *make(request))


def _submit(args: argparse.Namespace, chain: "Chain", scripts: list[str]) -> int:
    from dataclasses import replace

    from talkies.launch.chain import read_chain, start

    if args.dry_run:
        for number, (job, script) in enumerate(zip(chain.jobs, scripts, strict=True)):
            after = f", after {chain.jobs[number - 1].name}" if number else ""
            print(f"### {job.script}{after}\n{script}")
        return 0
    known = read_chain(chain.folder)
    if known is not None:
        _require_no_active_jobs(known)
        chain = replace(chain, earlier=(*known.earlier, *known.ids))
    for job in start(chain, scripts).jobs:
        print(f"{job.id}  {job.name}")
    print(f"folder: {chain.folder}\nstatus: talkies status {chain.folder}")
    return 0


def _require_no_active_jobs(known: "Chain") -> None:
    from talkies.config import RecipeError

    active = known.active()
    if active:
        ids = ", ".join(sorted({job.id for job in active}, key=int))
        raise RecipeError(
            f"submit: jobs {ids} of {known.folder} are queued or running: wait for them, `talkies cancel "
            f"{known.folder}`, or start another run with --new"
        )


def _phase(request: SubmitRequest) -> "tuple[Chain, list[str]]":
    """The chain of a phase recipe: one job."""
    from talkies.config import RecipeError
    from talkies.config.source import load
    from talkies.launch.chain import Chain, ChainJob
    from talkies.launch.script import JobContext, job_name
    from talkies.models.systems import SYSTEMS
    from talkies.recipe.config import decode_phase
    from talkies.runs.disk_space import check_disk_space_for_all
    from talkies.runs.lookup import run_of
    from talkies.runs.preflight import check_before_submit

    recipe = decode_phase(load(request.args.recipe, request.overrides), SYSTEMS)
    if recipe.data.root is None and request.site.data_root is not None:
        request.overrides.append(f"data.root={Path(request.site.data_root).expanduser()}")
    elif recipe.data.root is None:
        raise RecipeError("submit: `data.root` is not set: give data.root=FOLDER, or `data_root` in the site profile")
    if recipe.tracking.uri is None and request.site.tracking_uri is not None:
        request.overrides.append(f"tracking.uri={request.site.tracking_uri}")
    recipe = decode_phase(load(request.args.recipe, request.overrides), SYSTEMS)
    folder = run_of(request.runs, recipe, new=request.args.new)
    context = JobContext(site=request.site, folder=folder, directory=Path.cwd())
    name = job_name(recipe.name)
    script = _phase_script(request, context, name, recipe, request.words("train", "--folder", str(folder)))
    if not request.args.dry_run:
        check_before_submit(recipe, folder)
        check_disk_space_for_all({folder: recipe})
    job = ChainJob(name=name, phase=recipe.name, run=str(folder), script=str(context.script(name)))
    return Chain(folder=folder, jobs=(job,)), [script]


def _phase_script(
    request: SubmitRequest, context: "JobContext", name: str, recipe: "PhaseRecipe", words: list[str]
) -> str:
    """The script of a phase, once its plan shows that the layout divides evenly and fits the GPU, the nodes and the
    time between signal and end."""
    from talkies.cli.plan import plan_phase
    from talkies.config import RecipeError
    from talkies.launch.script import train_script
    from talkies.launch.site import allocation
    from talkies.planning.plan import Options

    planned = plan_phase(recipe, Options(card=request.site.card))
    given = allocation(request.site, recipe.slurm, ranks=recipe.parallel.ranks, phase=recipe.name)
    needed = planned.speed.seconds + planned.disk.write_seconds
    if needed > request.site.lead:
        raise RecipeError(
            f"submit: phase {shown(recipe.name)} needs about {needed:.0f} s for a step and a checkpoint, but is "
            f"signalled {request.site.lead} s before its end (`lead` of the site): raise it"
        )
    return train_script(context, name, given, words)


def _curriculum(request: SubmitRequest) -> "tuple[Chain, list[str]]":
    """The chain of a curriculum: its preparation, then a job per phase."""
    from talkies.launch.chain import Chain, ChainJob
    from talkies.launch.script import JobContext, job_name
    from talkies.models.systems import SYSTEMS
    from talkies.recipe.curriculum import load_curriculum
    from talkies.runs.curriculum_check import check_recipes
    from talkies.runs.lookup import curriculum_of
    from talkies.runs.run_curriculum import phase_folders

    args = request.args
    curriculum = load_curriculum(args.recipe, request.overrides, systems=SYSTEMS)
    if request.site.tracking_uri is not None and all(phase.tracking.uri is None for phase in curriculum.phases):
        request.overrides.append(f"phases.tracking.uri={request.site.tracking_uri}")
        curriculum = load_curriculum(args.recipe, request.overrides, systems=SYSTEMS)
    folder = curriculum_of(request.runs, curriculum, new=args.new)
    folders = phase_folders(curriculum, folder)
    check_recipes(curriculum)
    context = JobContext(site=request.site, folder=folder, directory=Path.cwd())
    jobs, scripts = _prepare_jobs(request, context, curriculum.recipe.name, len(curriculum.prepare.sets))
    for phase in () if args.prepare else curriculum.phases:
        name = job_name(curriculum.recipe.name, phase.name)
        promote = ["--no-promote"] if args.no_promote else []
        words = request.words("train", "--folder", str(folder), "--phase", phase.name, *promote)
        scripts.append(_phase_script(request, context, name, phase, words))
        run_folder = str(folders[phase.name])
        jobs.append(ChainJob(name=name, phase=phase.name, run=run_folder, script=str(context.script(name))))
    if not args.dry_run:
        _check_phases(curriculum, folders)
    return Chain(folder=folder, jobs=tuple(jobs)), scripts


def _check_phases(curriculum: "Curriculum", folders: "Mapping[str, Path]") -> None:
    """Raise now what a phase would raise later, as far as this machine can check it."""
    from talkies.runs.curriculum_check import of_phase
    from talkies.runs.disk_space import check_disk_space_for_all
    from talkies.runs.preflight import check_before_submit, unfinished

    check_disk_space_for_all(unfinished(curriculum, folders))
    for phase in curriculum.phases:
        with of_phase(phase.name):
            check_before_submit(phase, folders[phase.name], siblings=folders)


def _prepare(request: SubmitRequest) -> "tuple[Chain, list[str]]":
    """The chain of a preparation, in the folder of its data."""
    from talkies.config.decode import decode
    from talkies.config.source import load
    from talkies.launch.chain import Chain
    from talkies.launch.script import JobContext
    from talkies.prepare.config import PrepareConfig
    from talkies.runs.lookup import data_of

    config = decode(PrepareConfig, load(request.args.recipe, request.overrides))
    folder = data_of(request.runs, config, recipe_folder=request.args.recipe.parent)
    context = JobContext(site=request.site, folder=folder, directory=Path.cwd())
    jobs, scripts = _prepare_jobs(request, context, config.name, len(config.sets))
    return Chain(folder=folder, jobs=tuple(jobs)), scripts


def _prepare_jobs(
    request: SubmitRequest, context: "JobContext", name: str, sets: int
) -> "tuple[list[ChainJob], list[str]]":
    """One job; or three: for what all sets share, an array with a task per set, and a last one that checks and
    reports."""
    from talkies.launch.chain import ChainJob
    from talkies.launch.script import job_name, prepare_script

    whole: list[tuple[Part, str]] = [("whole", "prepare")]
    parts: list[tuple[Part, str]] = [("codecs", "prepare-codecs"), ("sets", "prepare-sets"), *whole]
    jobs, scripts = [], []
    for part, suffix in parts if request.site.prepare.array and sets > 1 else whole:
        job = job_name(name, suffix)
        scripts.append(prepare_script(context, job, request.words("prepare"), part=part, sets=sets))
        jobs.append(ChainJob(name=job, phase=None, run=None, script=str(context.script(job))))
    return jobs, scripts
