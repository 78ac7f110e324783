"""talkies status [RUN|JOB]: the jobs of submitted runs with their states, how far each is, where it is tracked."""

import argparse
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkies.cli.place import add_runs
from talkies.config.regular import resolved
from talkies.config.shown import one_line

if TYPE_CHECKING:
    from talkies.launch.chain import Chain, ChainJob


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("run", nargs="?", help="the folder of a run, or the id of one of its jobs (all runs of --runs)")
    add_runs(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


OWN = 4
"""Fields of a Row that a run's folder does not tell."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One job: its state as Slurm says it, `step` of `max` of its phase, the best checkpoint with its held-out loss,
    why it is held, what went wrong and was survived, the MLflow run; of one that has not ended, its heartbeats and its
    last hang; what of the run's records is damaged, and which of
    them can carry a credential."""

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
    """Print the chains that were asked for. All is told; DataError's exit code says that a record is damaged."""
    if _plain(args.run):
        return _one(Path(args.run), as_json=args.json)
    rows = {chain.folder: [row_of(job) for job in chain.jobs] for chain in chosen(args.run, args.runs)}
    if args.json:
        told = [{"folder": str(folder), "jobs": list(map(asdict, found))} for folder, found in rows.items()]
        print(json.dumps(told, indent=2))
        return _code(*rows.values())
    for folder, found in rows.items():
        print("\n".join([str(folder), *(line for row in found for line in _lines(row))]))
        print(f"  logs: {folder / 'slurm'}")
    if not rows:
        print(f"no submitted runs in {args.runs}")
    return _code(*rows.values())


def _code(*found: "list[Row]") -> int:
    from talkies.config import DataError

    return DataError.exit_code if any(row.damaged for rows in found for row in rows) else 0


def _plain(what: str | None) -> bool:
    """Whether it is a run that no job trains."""
    from talkies.config.records import present
    from talkies.launch.chain import read_chain

    folder = Path(what or "")
    if what is None or not present(folder / "recipe.json"):
        return False
    return all(read_chain(path) is None for path in (folder, resolved(folder).parent))


def _one(run: Path, *, as_json: bool) -> int:
    """Print how far a run is that no job trains."""
    row = Row(id=None, name=resolved(run).parent.name, state="not submitted", restarts=0, **_known(run))
    told = [{"folder": str(run), "jobs": [asdict(row)]}]
    print(json.dumps(told, indent=2) if as_json else "\n".join([str(run), *_lines(row)]))
    return _code([row])


def chosen(what: str | None, runs: Path) -> "list[Chain]":
    """The chains that `what` means: the folder of a run or of a phase in it, a job id, or None for all below `runs`.

    Raises RecipeError where it means none.
    """
    from talkies.config import RecipeError
    from talkies.launch.chain import chains, read_chain

    if what is None:
        return [*chains(runs)]
    if what.isdecimal():
        held = [chain for chain in chains(runs) if what in (*chain.ids, *chain.earlier)]
        if held:
            return held
        raise RecipeError(f"status: job {what} was submitted for no run in {runs}; give the run's folder, or --runs")
    folder = Path(what)
    known = [chain for chain in map(read_chain, (folder, resolved(folder).parent)) if chain is not None]
    if not known:
        raise RecipeError(f"status: {what} is no run folder with submitted jobs, nor the id of a job")
    return known[:1]


def row_of(job: "ChainJob") -> Row:
    """What is known of a job, from Slurm and from the run's folder."""
    state, restarts = _state(job)
    return Row(id=job.id, name=job.name, state=state, restarts=restarts, **_known(job.run))


def _known(run: str | Path | None) -> dict[str, Any]:
    """What a Row tells of a run's folder. A damaged record hides no other."""
    from talkies.config import UserError

    found: dict[str, Any] = {field.name: None for field in fields(Row)[OWN:]}
    damaged: list[str] = []
    if run is None:
        return found
    for reader in (_progress, _best, _held, _survived, _link, _life, _exposed):
        try:
            found |= reader(Path(run))
        except UserError as error:
            damaged.append(str(error))
    return found | {"damaged": "; ".join(dict.fromkeys(damaged)) or None}


def _held(run: Path) -> dict[str, Any]:
    from talkies.launch.attempts import read_attempts

    return {"held": read_attempts(run).held}


def _life(run: Path) -> dict[str, Any]:
    """Of a run that has not ended: its heartbeats, and its last hang."""
    from talkies.resilience.heartbeat import last_hang, pulse
    from talkies.runs.folders import finished

    return {} if finished(run) else {"pulse": pulse(run), "hang": last_hang(run)}


def _state(job: "ChainJob") -> tuple[str, int]:
    """The state, with the reason of one that waits; of an array, how many tasks are in each. And the restarts."""
    from talkies.launch.slurm import SlurmError, jobs_of

    if job.id is None:
        return "not submitted", 0
    try:
        found = jobs_of(job.id)
    except SlurmError as error:
        return f"unknown ({error})", 0
    if not found:
        return "forgotten by Slurm", 0
    waits = {"PENDING": f" ({found[0].reason})"}
    if len(found) == 1:
        return found[0].state + waits.get(found[0].state, ""), found[0].restarts
    states = [task.state for task in found]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted({*states}))
    return counts, max(task.restarts for task in found)


def _progress(run: Path) -> dict[str, Any]:
    """The newest checkpoint's step (of a finished run its last) and the recipe's last; nothing before it begins."""
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
    """The checkpoint with the lowest held-out loss, a folder that `sample`, `evaluate` and `export` take."""
    from talkies.checkpoints.store import CheckpointStore
    from talkies.runs.retention import best_of

    found = best_of(run)
    if found is None:
        return {}
    where = CheckpointStore(run / "checkpoints").path(found.step)
    return {"best": f"best: {where} ({found.metric} = {found.value:.6g})"}


def _survived(run: Path) -> dict[str, Any]:
    """What of the run's own records names trouble."""
    from talkies.config.records import present
    from talkies.data.substitutes import FILE, QUARANTINED
    from talkies.resilience.rollback import read_rollbacks

    counts = {
        "bad steps (bad_steps/)": len([*(run / "bad_steps").glob("*.json")]),
        "times gone back (rollbacks.json)": len(read_rollbacks(run)),
        f"clips replaced ({FILE})": QUARANTINED.content(run / FILE).count(b"\n") if present(run / FILE) else 0,
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return {"survived": f"survived: {told}"} if told else {}


def _link(run: Path) -> dict[str, Any]:
    """The page of the run on a tracking server; of a store without one, the store and the run's id."""
    from talkies.tracking.identity import read_identity

    known = read_identity(run)
    if known is None:
        return {}
    from talkies.config.secrets import bare

    uri, id = bare(known.tracking_uri), known.mlflow_run_id
    return {"mlflow": f"{uri.rstrip('/')}/#/runs/{id}" if uri.startswith("http") else f"{uri} run {id}"}


def _exposed(run: Path) -> dict[str, Any]:
    """Which records of an older version hold a URI that can carry a credential."""
    from talkies.config.secrets import credential
    from talkies.runs.records import PLACE, RECIPE
    from talkies.tracking.identity import FILE, read_identity

    place, recipe, known = PLACE.find(run / "place.json"), RECIPE.find(run / "recipe.json"), read_identity(run)
    tracking = None if recipe is None else recipe.recipe.get("tracking")
    uris = {
        "recipe.json": tracking.get("uri") if isinstance(tracking, dict) else None,
        "place.json": None if place is None else place.store,
        FILE: None if known is None else known.tracking_uri,
    }
    told = [f"{name} ({part})" for name, uri in uris.items() if isinstance(uri, str) and (part := credential(uri))]
    advice = "replace the credential at its server, and take it out of these files, spool.jsonl and outbox/"
    return {"exposed": f"can carry a credential: the tracking URI in {', '.join(told)}: {advice}"} if told else {}


def _lines(row: Row) -> list[str]:
    again = f", {row.restarts} restarts" if row.restarts else ""
    steps = f"  step {row.step} of {row.max}" if row.step is not None else ""
    lines = [f"  {row.id or '-':>8}  {row.name}  {row.state}{again}{steps}"]
    told = (row.best, row.held, row.survived, row.pulse, row.hang, row.mlflow, row.damaged, row.exposed)
    lines += [f"            {one_line(text)}" for text in told if text is not None]
    return lines
