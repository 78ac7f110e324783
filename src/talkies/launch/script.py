"""Job scripts: the templates of the repository's slurm/, filled with checked and quoted values."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from talkies.config import RecipeError
from talkies.config.quoting import shown
from talkies.config.regular_files import resolved
from talkies.launch.config import SiteConfig
from talkies.launch.secrets import refuse_secret_words
from talkies.launch.site import Allocation

TEMPLATES = Path(__file__).parent / "templates"
"""A link to the repository's folder; in an installation, a copy of it."""
_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_PATH = re.compile(r"/[A-Za-z0-9._/+@=-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
Part = Literal["whole", "codecs", "sets"]
_PARTS: Mapping[Part, str] = {"whole": "", "codecs": "--part codecs", "sets": '--part "$SLURM_ARRAY_TASK_ID"'}


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """What all jobs of a chain share: the site, the run's `folder` (record, scripts and logs), and the working
    `directory` of the command."""

    site: SiteConfig
    folder: Path
    directory: Path

    def script(self, name: str) -> Path:
        """The path of the script of job `name`."""
        return self.folder / "slurm" / f"{name}.sbatch"


def train_script(job: JobContext, name: str, allocation: Allocation, words: Sequence[str]) -> str:
    """The script of a phase; `words`: the talkies command that its processes run.

    RecipeError for values that must not enter a script.
    """
    site = job.site
    gpus = (f"--gpus-per-node={allocation.per_node}",) if site.request_gpus else ()
    options = (*gpus, "--requeue" if allocation.requeue else "--no-requeue")
    values = _common(job, name, words, options, f"{name}-%j.out") | {
        "nodes": str(allocation.nodes),
        "per_node": str(allocation.per_node),
        "cpus": str(site.cpus_per_task),
        "time": allocation.time,
        "lead": str(site.lead),
        "requeue": str(int(allocation.requeue)),
    }
    return _filled("train.sbatch", values)


def prepare_script(job: JobContext, name: str, words: Sequence[str], *, part: Part, sets: int) -> str:
    """The script of a preparation: all of it, the codecs that its sets share, or an array with one task for each of
    `sets` sets. RecipeError for values that must not enter a script."""
    prepare = job.site.prepare
    options = [f"--gpus-per-node={prepare.gpus}"] if prepare.gpus else []
    if part == "sets":
        options.append(f"--array=0-{sets - 1}%{prepare.array}")
    site = replace(job.site, partition=prepare.partition or job.site.partition, sbatch=prepare.sbatch)
    log = f"{name}-%A-%a.out" if part == "sets" else f"{name}-%j.out"
    values = _common(replace(job, site=site), name, words, options, log) | {
        "cpus": str(prepare.cpus),
        "time": prepare.time or job.site.limits.time,
        "part": _PARTS[part],
    }
    return _filled("prepare.sbatch", values)


def job_name(*parts: str) -> str:
    """The name of a job. RecipeError for characters outside [A-Za-z0-9._-]."""
    name = ".".join(parts)
    if not _NAME.fullmatch(name):
        raise RecipeError(f"slurm: job name {shown(name)} contains characters outside [A-Za-z0-9._-]: change `name`")
    return name


def _common(job: JobContext, name: str, words: Sequence[str], options: Sequence[str], log: str) -> dict[str, str]:
    site = job.site
    queue = {"account": site.account, "partition": site.partition, "qos": site.qos}
    queue_options = [f"--{key}={value}" for key, value in queue.items() if value is not None]
    refuse_secret_words(words)
    return {
        "name": job_name(name),
        "directory": _path(job.directory, "the working directory"),
        "log": _path(job.folder, "the run folder") + f"/slurm/{log}",
        "options": "\n".join(f"#SBATCH {option}" for option in [*queue_options, *options, *site.sbatch]),
        "setup": "\n".join(_setup(site)),
        "command": " ".join(map(_quoted, [*_container(site), *_python(site), "-m", "talkies.cli.main", *words])),
    }


def _setup(site: SiteConfig) -> list[str]:
    """The lines before srun: modules, then sourced files, then variables."""
    modules = [f"module load {' '.join(map(_quoted, site.modules))}"] if site.modules else []
    files = [f"source {_quoted(str(Path(path).expanduser()))}" for path in site.source]
    return [*modules, *files, *(f"export {name}={_quoted(value)}" for name, value in site.environment.items())]


def _container(site: SiteConfig) -> list[str]:
    container = site.container
    if container is None:
        return []
    mounts = ",".join(container.mounts)
    if container.kind == "pyxis":
        return [f"--container-image={container.image}", *([f"--container-mounts={mounts}"] if mounts else [])]
    return ["apptainer", "exec", "--nv", *(["--bind", mounts] if mounts else []), container.image]


def _python(site: SiteConfig) -> list[str]:
    if site.python is not None:
        return [str(Path(site.python).expanduser())]
    return ["python3" if site.container else sys.executable]


def _path(path: Path, what: str) -> str:
    text = str(resolved(path))
    if not _PATH.fullmatch(text):
        raise RecipeError(
            f"slurm: {what} {shown(text)} contains characters outside [A-Za-z0-9._/+@=-], which sbatch would not "
            "read as one path: work in another folder (--runs)"
        )
    return text


def _quoted(word: str) -> str:
    if _CONTROL.search(word):
        raise RecipeError(f"submit: {shown(word)} contains a line break or another control character: remove it")
    return shlex.quote(word)


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = (TEMPLATES / template).read_text()
    # A single pass, so that placeholders within values stay as they are. Options that are not set leave no empty line.
    filled = _PLACEHOLDER.sub(lambda match: values[match[1]], text)
    return re.sub(r"\n{2,}", "\n", filled).replace(" \n", "\n")
