"""The jobs of a run: RUN_FOLDER/jobs.json, written as they are submitted."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from talkies.config import CheckpointError
from talkies.config.places import opened
from talkies.config.quoting import shown
from talkies.config.records import Kind, Name, record
from talkies.config.regular_files import resolved
from talkies.files.durable import write_text
from talkies.launch.slurm import JobInfo, SlurmError, cancel, jobs_of, submit

FILE = "jobs.json"


@record
class ChainJob:
    """One job: its `name`, the phase that it trains (None: it prepares data) in run folder `run`, and its script. `id`
    is None until the job is submitted."""

    name: Name
    phase: Name | None
    run: Name | None
    script: Name
    id: Name | None = None


@record
class ChainRecord:
    """jobs.json: a Chain without its folder."""

    jobs: tuple[ChainJob, ...]
    earlier: tuple[Name, ...]


CHAIN = Kind(holds=ChainRecord, about="slurm", remedy="restore it from a copy, or use scancel", error=CheckpointError)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The jobs of a run's last submission, each after the previous one; `earlier`: job ids of earlier submissions."""

    folder: Path
    jobs: tuple[ChainJob, ...]
    earlier: tuple[str, ...] = ()

    @property
    def ids(self) -> list[str]:
        """The ids of the submitted jobs, first to last."""
        return [job.id for job in self.jobs if job.id is not None]

    def active(self) -> list[JobInfo]:
        """The jobs that have not ended, as Slurm knows them."""
        return [job for known in self.ids for job in jobs_of(known) if not job.ended]

    def write(self) -> None:
        """Record the chain in its folder."""
        jobs = [
            replace(job, run=job.run and _within(job.run, self.folder), script=_within(job.script, self.folder))
            for job in self.jobs
        ]
        values = {"jobs": [asdict(job) for job in jobs], "earlier": self.earlier}
        write_text(self.folder / FILE, json.dumps(values, indent=2) + "\n")


def read_chain(folder: Path) -> Chain | None:
    """The chain that was submitted for the run in `folder`; None if there is none. CheckpointError if jobs.json is
    damaged."""
    record = CHAIN.find(folder / FILE)
    if record is None:
        return None
    jobs = [
        replace(job, run=job.run and str(opened(job.run, folder)), script=str(opened(job.script, folder)))
        for job in record.jobs
    ]
    return Chain(folder=folder, jobs=tuple(jobs), earlier=record.earlier)


def _within(path: str, folder: Path) -> str:
    """`path` as the record stores it: relative if it lies in the run's folder, which may be moved."""
    inside = Path(path).is_absolute() and resolved(Path(path)).is_relative_to(resolved(folder))
    return os.path.relpath(resolved(Path(path)), resolved(folder)) if inside else path


def chains(runs: Path) -> Iterator[Chain]:
    """All chains in a runs folder, sorted by folder."""
    for path in sorted([*runs.glob(f"*/*/{FILE}")]):
        chain = read_chain(path.parent)
        if chain is not None:
            yield chain


def start(chain: Chain, scripts: Sequence[str]) -> Chain:
    """Write the scripts and submit them in order; each job id is recorded before the next submission. If Slurm refuses
    a job, those before it are cancelled, and SlurmError reports both."""
    for job, text in zip(chain.jobs, scripts, strict=True):
        path = Path(job.script)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    chain.write()
    submitted: list[ChainJob] = []
    for job in chain.jobs:
        try:
            job_id = submit(Path(job.script), after=submitted[-1].id if submitted else None)
        except SlurmError as error:
            if submitted:
                cancel([earlier.id for earlier in reversed(submitted) if earlier.id is not None])
            more = f"; the {len(submitted)} jobs before it are cancelled" if submitted else ""
            raise SlurmError(f"{error} (job {shown(job.name)}, {job.script}){more}") from None
        submitted.append(replace(job, id=job_id))
        chain = replace(chain, jobs=(*submitted, *chain.jobs[len(submitted) :]))
        chain.write()
    return chain
