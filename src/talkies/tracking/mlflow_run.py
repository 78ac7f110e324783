"""RUN_FOLDER/run.json: the MLflow run of a folder, the same across all requeues and resumes."""

from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import urlsplit

from talkies.config.numbers import Natural
from talkies.config.places import kept_uri, opened_uri
from talkies.config.records import Kind, Name, record
from talkies.config.regular_files import resolved
from talkies.config.secrets import bare
from talkies.files.durable import UNWRITABLE, write_json

FILE = "run.json"
VIEW = "talkies"
"""The saved view of charts in every experiment."""
WEB, DATABASES = ("http", "https"), ("sqlite", "postgresql", "mysql", "mssql")
LOCAL = "http://127.0.0.1:5000"
"""The default address of `mlflow ui`."""


@record
class MlflowRun:
    """`created`: start of the first attempt, ms since the epoch. `experiment_id`: None in a record of an older version.
    `folder`: the folder where the record was written; a relative `tracking_uri` starts there."""

    mlflow_run_id: Name
    experiment: Name
    tracking_uri: Name
    created: Natural
    experiment_id: Name | None = None
    folder: Name | None = None


MLFLOW_RUN = Kind(
    holds=MlflowRun, about="tracking", remedy="restore it from a copy, or remove it to upload the run again"
)


def read_mlflow_run(run_folder: Path) -> MlflowRun | None:
    """The identity of a run, with the present path of its store; None before the run exists in MLflow. DataError if
    run.json is damaged."""
    found = MLFLOW_RUN.find(run_folder / FILE)
    if found is None:
        return None
    return replace(found, tracking_uri=opened_uri(found.tracking_uri, run_folder, written_in=found.folder))


def write_mlflow_run(run_folder: Path, identity: MlflowRun) -> None:
    """Write run.json atomically."""
    here = {"tracking_uri": kept_uri(identity.tracking_uri, run_folder), "folder": str(resolved(run_folder))}
    write_json(run_folder / FILE, {**asdict(identity), **here}, refused=UNWRITABLE)


def page(identity: MlflowRun) -> str | None:
    """The address of the page with runs and charts of a run's experiment; for a database, as `mlflow ui` serves it.
    None for a run of an older version, whose record lacks the experiment, and for other kinds of stores."""
    scheme = urlsplit(identity.tracking_uri).scheme
    if identity.experiment_id is None or not (scheme in WEB or scheme.partition("+")[0] in DATABASES):
        return None
    host = bare(identity.tracking_uri).rstrip("/") if scheme in WEB else LOCAL
    shown = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={VIEW}"
    return f"{host}/#/experiments/{identity.experiment_id}/runs?{shown}"
