"""Keys of a site profile and of a recipe's `slurm` section. Patterns decide which characters may enter a script."""

import re
from dataclasses import field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from talkies.config import config
from talkies.config.numbers import Count, Natural

_TIME = re.compile(r"(?:(\d{1,3})-)?(\d{1,2}):([0-5]\d):([0-5]\d)")
_OURS = (
    "account array chdir comment cpus-per-task dependency error export export-file gid gpus-per-node input job-name "
    "kill-on-invalid-dep nodes no-requeue ntasks ntasks-per-node open-mode output parsable partition qos requeue "
    "signal test-only time uid wait wrap"
)
OURS = frozenset(_OURS.split())
"""Options of sbatch that another key sets, or that would change the user or the command of a job."""


def seconds_of(time: str) -> int:
    """[DAYS-]HOURS:MINUTES:SECONDS as seconds."""
    match = _TIME.fullmatch(time)
    assert match is not None, time
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _matching(pattern: str, rule: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def valid(text: str) -> str:
        if not compiled.fullmatch(text):
            raise PydanticCustomError("text", "Input should be {rule}", {"rule": rule})
        return text

    return AfterValidator(valid)


def _option(text: str) -> str:
    name = text.removeprefix("--").partition("=")[0]
    if name in OURS:
        raise PydanticCustomError("text", "Input should be an option that no other key decides", {})
    return text


def _time(text: str) -> str:
    if not _TIME.fullmatch(text) or not seconds_of(text):
        raise PydanticCustomError("text", "Input should be [DAYS-]HOURS:MINUTES:SECONDS, above zero", {})
    return text


Word = Annotated[str, _matching(r"[A-Za-z0-9_][A-Za-z0-9._,+-]*", "letters, digits and . _ , + -")]
Module = Annotated[str, _matching(r"[A-Za-z0-9_][A-Za-z0-9._+/-]*", "a module: letters, digits and . _ + / -")]
Location = Annotated[
    str, _matching(r"(?:~?/|[A-Za-z0-9_.])[A-Za-z0-9._/+@=-]*", "a path of letters, digits, . _ / + @")
]
Image = Annotated[str, _matching(r"[A-Za-z0-9_./][A-Za-z0-9._/+@:#=-]*", "an image: letters, digits and . _ / + @ : #")]
Mount = Annotated[str, _matching(r"/[A-Za-z0-9._/+@-]*(?::[A-Za-z0-9._/+@,-]+)*", "SOURCE[:TARGET], of absolute paths")]
Line = Annotated[str, _matching(r"[^\x00-\x1f\x7f]*", "one line without control characters")]
Variable = Annotated[str, _matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of a variable")]
Option = Annotated[
    str,
    _matching(r"--[a-z][a-z0-9-]*(?:=[A-Za-z0-9._,:/%@+*&|()\[\]=-]+)?", "--option or --option=value, without spaces"),
    AfterValidator(_option),
]
Time = Annotated[str, AfterValidator(_time)]


@config
class SlurmConfig:
    """The allocation of one phase; excluded from the recipe's hash. The product of `nodes` and `gpus_per_node` is the
    number of ranks of `parallel`; by default they fill the site's nodes. `time`: of one attempt (default: the site's
    limit); `requeue`: an attempt that reaches its limit or is preempted requeues the job, which then continues from its
    checkpoint."""

    nodes: Count | None = None
    gpus_per_node: Count | None = None
    time: Time | None = None
    requeue: bool = True


@config
class LimitsConfig:
    """The most that one job may ask for."""

    nodes: Count
    gpus_per_node: Count
    time: Time


@config
class PyxisConfig:
    """srun starts the processes in `image`, by pyxis and enroot."""

    kind: Literal["pyxis"] = "pyxis"
    image: Image
    mounts: tuple[Mount, ...] = ()


@config
class ApptainerConfig:
    """Every process is `apptainer exec --nv`."""

    kind: Literal["apptainer"] = "apptainer"
    image: Image
    mounts: tuple[Mount, ...] = ()


ContainerConfig = Annotated[PyxisConfig | ApptainerConfig, Field(discriminator="kind")]


@config
class PrepareJobConfig:
    """The allocation of a preparation's jobs: one node, one process. `array`: one task per shard set, at most this many
    at once; 0: one job makes all sets."""

    partition: Word | None = None
    cpus: Count = 4
    gpus: Natural = 0
    time: Time | None = None
    array: Natural = 8
    sbatch: tuple[Option, ...] = ()


@config
class SiteConfig:
    """A cluster from its users' point of view. It must not contain secrets: scripts are kept beside the runs, and
    shown. `source` names files that every job sources first; these may set credentials.

    `python`: the interpreter (default: that of `submit`); `runs`: the runs folder; `data_root`: for phases that name
    none; `card`: GB of a GPU, which a layout must fit; `lead`: seconds between the signal and the end of a job, enough
    for the longest step, a validation and a checkpoint; `sbatch`: further options of a phase's job."""

    kind: Literal["site"] = "site"
    account: Word | None = None
    partition: Word | None = None
    qos: Word | None = None
    limits: LimitsConfig
    lead: Annotated[int, Field(ge=1, le=65535)] = 300
    card: Literal[24, 48, 80, 141] | None = None
    cpus_per_task: Count = 1
    request_gpus: bool = True
    modules: tuple[Module, ...] = ()
    source: tuple[Location, ...] = ()
    environment: dict[Variable, Line] = field(default_factory=dict)
    container: ContainerConfig | None = None
    python: Location | None = None
    runs: Location | None = None
    data_root: Location | None = None
    tracking_uri: Line | None = None
    sbatch: tuple[Option, ...] = ()
    prepare: PrepareJobConfig = PrepareJobConfig()
