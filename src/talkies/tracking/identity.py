"""RUN_FOLDER/run.json: which MLflow run a folder is, across every requeue and resume."""

from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from talkies.config.numbers import Natural
from talkies.config.records import Kind, Name, record
from talkies.config.secrets import bare
from talkies.tracking.atomic import write_json

FILE = "run.json"
VIEW = "talkies"
"""The saved view of charts that an experiment has."""
WEB, DATABASES = ("http", "https"), ("sqlite", "postgresql", "mysql", "mssql")
LOCAL = "http://127.0.0.1:5000"
"""Where `mlflow ui` serves, unless it is told otherwise."""


@record
class Identity:
    """`created`: start of the first attempt, ms since the epoch. `experiment_id`: None in a record of an older
    version."""

    mlflow_run_id: Name
    experiment: Name
    tracking_uri: Name
    created: Natural
    experiment_id: Name | None = None


IDENTITY = Kind(holds=Identity, about="tracking", remedy="restore it from a copy, or remove it to upload the run again")


def read_identity(run_folder: Path) -> Identity | None:
    """The identity of a run that MLflow knows; None before. DataError where run.json is damaged."""
    return IDENTITY.find(run_folder / FILE)


def write_identity(run_folder: Path, identity: Identity) -> None:
    """Write run.json atomically."""
    write_json(run_folder / FILE, asdict(identity))


def page(identity: Identity) -> str | None:
    """The address of the runs and charts of the experiment that a run is in; None for a run of an older version, whose
    record does not say which experiment that is, and for a store of another kind. `mlflow ui` serves a database."""
    scheme = urlsplit(identity.tracking_uri).scheme
    if identity.experiment_id is None or not (scheme in WEB or scheme.partition("+")[0] in DATABASES):
        return None
    host = bare(identity.tracking_uri).rstrip("/") if scheme in WEB else LOCAL
    shown = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={VIEW}"
    return f"{host}/#/experiments/{identity.experiment_id}/runs?{shown}"
