"""The MLflow run of a run folder: made once, then always reused."""

from dataclasses import replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from talkies.config import TrackingError
from talkies.config.quoting import shown
from talkies.config.secrets import masked
from talkies.tracking.journal import Journal
from talkies.tracking.mlflow_run import MlflowRun, read_mlflow_run, write_mlflow_run
from talkies.tracking.page import dress, tags
from talkies.tracking.progress import sole_sender
from talkies.tracking.records import SPOOL, Record
from talkies.tracking.store import need_store, open_client, translated

KEY = "talkies.run"


class ParentBusyError(TrackingError):
    """The run cannot be made before its parent's, which another process is making."""


def adopt_run(run_folder: Path) -> tuple[MlflowClient, MlflowRun]:
    """The MLflow run of `run_folder`, made now if it does not exist yet, as a child of its parent's run.

    Only the sole sender of the folder may call this. Raises TrackingError if the store cannot be reached, the run was
    deleted, or the spool is empty.
    """
    identity = read_mlflow_run(run_folder)
    if identity is None:
        return _make_run(run_folder)
    need_run_store(run_folder)
    known = f"run {identity.mlflow_run_id} of {run_folder}"
    client = open_client(identity.tracking_uri)
    with translated(f"cannot read {known}"):
        run = client.get_run(identity.mlflow_run_id)
    if run.info.lifecycle_stage != "active":
        raise TrackingError(
            f"tracking: {known} was deleted at {masked(identity.tracking_uri)}: restore it, or remove "
            f"{run_folder / 'run.json'} to upload it as a new one"
        )
    if identity.experiment_id is None:  # an older version made the run
        identity = replace(identity, experiment_id=str(run.info.experiment_id))
        with translated(f"cannot read the experiment of {known}"):
            dress(client, client.get_experiment(identity.experiment_id))
        write_mlflow_run(run_folder, identity)
    return client, identity


def need_run_store(run_folder: Path) -> None:
    """TrackingError if the SQLite store with the run of `run_folder` is gone; a run that was never sent passes."""
    identity = read_mlflow_run(run_folder)
    if identity is not None:
        known = f"run {identity.mlflow_run_id} of {run_folder}"
        remedy = f"put back the store or the run, or remove {run_folder / 'run.json'} to upload the run again"
        need_store(identity.tracking_uri, known, remedy)


def _make_run(run_folder: Path) -> tuple[MlflowClient, MlflowRun]:
    origin = Journal(run_folder).origin()
    if origin is None:
        raise TrackingError(f"tracking: {run_folder / SPOOL} holds no run yet")
    parent = None if origin["parent"] is None else parent_run(Path(origin["parent"]))
    client = open_client(origin["store"])
    with translated(f"cannot make a run in experiment {shown(origin['experiment'])} at {origin['store']}"):
        experiment = _experiment(client, origin)
        found = client.search_runs([experiment], f"tags.`{KEY}` = '{origin['run']}'", max_results=1)
        run_id = found[0].info.run_id if found else _create(client, experiment, origin, parent)
    identity = MlflowRun(
        mlflow_run_id=run_id,
        experiment=origin["experiment"],
        tracking_uri=origin["store"],
        created=origin["time"],
        experiment_id=experiment,
    )
    write_mlflow_run(run_folder, identity)
    return client, identity


def parent_run(folder: Path) -> str:
    """The MLflow run id of a parent's run folder. The run is made here; ParentBusyError if its own uploader is making
    it."""
    identity = read_mlflow_run(folder)
    if identity is not None:
        return identity.mlflow_run_id
    if not (folder / SPOOL).is_file():
        raise TrackingError(f"tracking: the parent run {folder} has no {SPOOL} yet")
    with sole_sender(folder) as alone:
        if not alone:
            raise ParentBusyError(f"tracking: the parent run {folder} is still being made; try again later")
        return adopt_run(folder)[1].mlflow_run_id


def _experiment(client: MlflowClient, origin: Record) -> str:
    name = origin["experiment"]
    found = client.get_experiment_by_name(name)
    if found is None:
        location = None if origin["artifacts"] is None else (Path(origin["artifacts"]) / name).as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=tags()))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"tracking: experiment {shown(name)} was deleted at {origin['store']}: restore it with `mlflow experiments "
            f"restore --experiment-id {found.experiment_id}`, or set another `tracking.experiment`"
        )
    dress(client, found)
    return str(found.experiment_id)


def _create(client: MlflowClient, experiment: str, origin: Record, parent: str | None) -> str:
    named = {KEY: origin["run"], "mlflow.source.name": "talkies"}
    if parent is not None:
        named["mlflow.parentRunId"] = parent
    run = client.create_run(experiment, start_time=origin["time"], tags=named, run_name=origin["name"])
    return str(run.info.run_id)
