"""talkies status [RUN|JOB]: progress and tracking of runs; for submitted ones, their jobs."""

import argparse
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkies.cli.place import add_runs
from talkies.config.quoting import one_line
from talkies.config.regular_files import resolved

if TYPE_CHECKING:
    from talkies.launch.chain import Chain, ChainJob


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("run", nargs="?", help="the folder of a run, or the id of one of its jobs (all submitted runs)")
    add_runs(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


FROM_SLURM = 4
"""The first fields of a Row, which do not come from the run's folder."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One job: its state in Slurm, `step` of `max` of its phase, the best checkpoint with its held-out loss, why it is
    held, which failures the run survived, its MLflow run; heartbeats and the last hang of a run that has not ended; and
    which of the run's records are damaged or can carry a credential."""

    id: str | None
    name: str
    state: str
    restarts: int
    step: int | None
    max: int | None
    best: str | None
    held: str | None
    mlflow: str | None
    pulse: str | None
    hang: str | None
    survived: str | None
    damaged: str | None
    exposed: str | None


def run(args: argparse.Namespace) -> int:
    """Print the requested chains. Damaged records do not stop the output; they give the exit code of DataError."""
    if _unsubmitted(args.run):
        return _one(Path(args.run), as_json=args.json)
    rows = {chain.folder: [row_of(job) for job in chain.jobs] for chain in chosen("status", args.run, args.runs)}
    if args.json:
        entries = [{"folder": str(folder), "jobs": list(map(asdict, jobs))} for folder, jobs in rows.items()]
        print(json.dumps(entries, indent=2))
        return _code(*rows.values())
    for folder, jobs in rows.items():
        print("\n".join([str(folder), *(line for row in jobs for line in _lines(row))]))
        print(f"  logs: {folder / 'slurm'}")
    if not rows:
        print(f"no submitted runs in {args.runs}")
    return _code(*rows.values())


def _code(*found: "list[Row]") -> int:
    from talkies.config import DataError

    return DataError.exit_code if any(row.damaged for rows in found for row in rows) else 0


def _unsubmitted(what: str | None) -> bool:
    """Whether `what` is the folder of a run that was not submitted as a job."""
    from talkies.config.records import present
    from talkies.launch.chain import read_chain

    folder = Path(what or "")
    if what is None or not present(folder / "recipe.json"):
        return False
    return all(read_chain(path) is None for path in (folder, resolved(folder).parent))


def _one(run: Path, *, as_json: bool) -> int:
    """Print the progress of a run that was not submitted as a job."""
    row = Row(id=None, name=resolved(run).parent.name, state="not submitted", restarts=0, **_known(run))
    entries = [{"folder": str(run), "jobs": [asdict(row)]}]
    print(json.dumps(entries, indent=2) if as_json else "\n".join([str(run), *_lines(row)]))
    return _code([row])


def chosen(verb: str, what: str | None, runs: Path) -> "list[Chain]":
    """The chains that `what` names: the folder of a run or of a phase in it, a job id, or None for all below `runs`.

    Raises RecipeError if there are none.
    """
    from talkies.config import RecipeError
    from talkies.launch.chain import chains, read_chain

    if what is None:
        return [*chains(runs)]
    if what.isdecimal():
        matching = [chain for chain in chains(runs) if what in (*chain.ids, *chain.earlier)]
        if matching:
            return matching
        raise RecipeError(f"{verb}: job {what} belongs to no run in {runs}; give the run's folder, or --runs")
    folder = Path(what)
    known = [chain for chain in map(read_chain, (folder, resolved(folder).parent)) if chain is not None]
    if not known:
        raise RecipeError(f"{verb}: {what} is neither a run folder with submitted jobs nor the id of a job")
    return known[:1]


def row_of(job: "ChainJob") -> Row:
    """The Row of a job, from Slurm and from the run's folder."""
    state, restarts = _state(job)
    return Row(id=job.id, name=job.name, state=state, restarts=restarts, **_known(job.run))


def _known(run: str | Path | None) -> dict[str, Any]:
    """The fields of a Row that come from a run's folder. A damaged record does not hide the others."""
    from talkies.config import UserError

    found: dict[str, Any] = {field.name: None for field in fields(Row)[FROM_SLURM:]}
    damaged: list[str] = []
    if run is None:
        return found
    for reader in (_progress, _best, _held, _survived, _link, _liveness, _exposed):
        try:
            found |= reader(Path(run))
        except UserError as error:
            damaged.append(str(error))
    return found | {"damaged": "; ".join(dict.fromkeys(damaged)) or None}


def _held(run: Path) -> dict[str, Any]:
    from talkies.launch.attempts import read_attempts

    return {"held": read_attempts(run).held}


def _liveness(run: Path) -> dict[str, Any]:
    """The heartbeats and the last hang of a run that has not ended."""
    from talkies.resilience.heartbeat import last_hang, pulse
    from talkies.runs.folders import finished

    return {} if finished(run) else {"pulse": pulse(run), "hang": last_hang(run)}


def _state(job: "ChainJob") -> tuple[str, int]:
    """The state of a job, with the reason if it waits, and its restarts. For an array, the tasks in each state."""
    from talkies.launch.slurm import SlurmError, jobs_of

    if job.id is None:
        return "not submitted", 0
    try:
        tasks = jobs_of(job.id)
    except SlurmError as error:
        return f"unknown ({error})", 0
    if not tasks:
        return "forgotten by Slurm", 0
    reasons = {"PENDING": f" ({tasks[0].reason})"}
    if len(tasks) == 1:
        return tasks[0].state + reasons.get(tasks[0].state, ""), tasks[0].restarts
    states = [task.state for task in tasks]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted({*states}))
    return counts, max(task.restarts for task in tasks)


def _progress(run: Path) -> dict[str, Any]:
    """The step of the newest checkpoint (of a finished run, its last step) and the recipe's last step; nothing before
    the run begins."""
    from talkies.checkpoints.store import CheckpointStore
    from talkies.config.records import present
    from talkies.runs.folders import finished
    from talkies.runs.records import RECIPE, RESULT

    if not present(run / "recipe.json"):
        return {}
    if finished(run):
        step = RESULT.read(run / "result.json").step
    else:
        step = max(CheckpointStore(run / "checkpoints").steps(), default=0)
    return {"step": step, "max": RECIPE.read(run / "recipe.json").steps}


def _best(run: Path) -> dict[str, Any]:
    """The checkpoint with the lowest held-out loss, as a folder that `sample`, `evaluate` and `export` accept."""
    from talkies.checkpoints.store import CheckpointStore
    from talkies.runs.retention import best_of

    found = best_of(run)
    if found is None:
        return {}
    checkpoint = CheckpointStore(run / "checkpoints").path(found.step)
    return {"best": f"best: {checkpoint} ({found.metric} = {found.value:.6g})"}


def _survived(run: Path) -> dict[str, Any]:
    """The failures that the run survived, counted from its records."""
    from talkies.config.records import present
    from talkies.data.substitutes import FILE, QUARANTINED
    from talkies.resilience.rollback import read_rollbacks

    counts = {
        "bad steps (bad_steps/)": len([*(run / "bad_steps").glob("*.json")]),
        "rollbacks (rollbacks.json)": len(read_rollbacks(run)),
        f"clips replaced ({FILE})": QUARANTINED.content(run / FILE).count(b"\n") if present(run / FILE) else 0,
    }
    summary = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return {"survived": f"survived: {summary}"} if summary else {}


def _link(run: Path) -> dict[str, Any]:
    """The page of the run on a tracking server; for a store without pages, the store and the run's id."""
    from talkies.tracking.mlflow_run import read_mlflow_run

    known = read_mlflow_run(run)
    if known is None:
        return {}
    from talkies.config.secrets import bare

    uri, id = bare(known.tracking_uri), known.mlflow_run_id
    return {"mlflow": f"{uri.rstrip('/')}/#/runs/{id}" if uri.startswith("http") else f"{uri} run {id}"}


def _exposed(run: Path) -> dict[str, Any]:
    """The records, written by an older version, that hold a URI which can carry a credential."""
    from talkies.config.secrets import credential
    from talkies.runs.records import PLACE, RECIPE
    from talkies.tracking.mlflow_run import FILE, read_mlflow_run

    place, recipe, known = PLACE.find(run / "place.json"), RECIPE.find(run / "recipe.json"), read_mlflow_run(run)
    tracking = None if recipe is None else recipe.newest.get("tracking")
    uris = {
        "recipe.json": tracking.get("uri") if isinstance(tracking, dict) else None,
        "place.json": None if place is None else place.store,
        FILE: None if known is None else known.tracking_uri,
    }
    files = [f"{name} ({part})" for name, uri in uris.items() if isinstance(uri, str) and (part := credential(uri))]
    advice = "replace the credential at its server, and remove it from these files, spool.jsonl and outbox/"
    return {"exposed": f"can carry a credential: the tracking URI in {', '.join(files)}: {advice}"} if files else {}


def _lines(row: Row) -> list[str]:
    restarts = f", {row.restarts} restarts" if row.restarts else ""
    steps = f"  step {row.step} of {row.max}" if row.step is not None else ""
    lines = [f"  {row.id or '-':>8}  {row.name}  {row.state}{restarts}{steps}"]
    details = (row.best, row.held, row.survived, row.pulse, row.hang, row.mlflow, row.damaged, row.exposed)
    lines += [f"            {one_line(text)}" for text in details if text is not None]
    return lines
