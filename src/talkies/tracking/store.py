"""Opening MLflow so that it answers or fails within seconds, and sends no telemetry."""

import logging
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.telemetry import set_telemetry_client
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from talkies.config import TrackingError
from talkies.config.places import SQLITE
from talkies.config.secrets import masked
from talkies.tracking.moved_store import beside, local_path, readdress
from talkies.tracking.store_check import check_opens

ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
DEFAULT = "0"
_set: dict[str, str] = {}
FAILURES = (MlflowException, RequestException, SQLAlchemyError, OSError)


def open_client(uri: str, *, timeout_s: int = 5) -> MlflowClient:
    """A client of the tracking store and registry at `uri`. A request without an answer fails after `timeout_s`.

    A new SQLite file is made without MLflow's empty experiment "Default". Raises TrackingError if nothing answers at
    `uri`, or a SQLite file cannot be made there. MLflow's environment variables take precedence over the values here.
    """
    _set_environment({**ENVIRONMENT, "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout_s)})
    set_telemetry_client()  # MLflow decided at its import; now it reads the variable again
    for name in ("alembic", "mlflow.store"):  # they log routine work to stderr
        logging.getLogger(name).setLevel(logging.WARNING)
    _reachable(uri)
    new_file = uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists()
    with translated(f"cannot open {uri}"), warnings.catch_warnings():
        # mlflow 3.17 with SQLAlchemy 2.1 warns of its own lazy="noload" when the first SQL store is opened.
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")
        if uri.startswith(SQLITE) and not new_file:
            readdress(Path(uri.removeprefix(SQLITE)))
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if new_file:
            _drop_default(client)
        return client


def _drop_default(client: MlflowClient) -> None:
    """Delete the experiment that MLflow makes in every new database, if it is still empty. It is only marked as
    deleted: MLflow would make it again if experiment 0 did not exist."""
    default = client.get_experiment(DEFAULT)
    if default.lifecycle_stage == "active" and not client.search_runs([DEFAULT], run_view_type=ViewType.ALL):
        with suppress(MlflowException):  # another process that opened the new store has deleted it
            client.delete_experiment(DEFAULT)


def need_store(uri: str, wanted: str, remedy: str) -> None:
    """TrackingError if `wanted` is looked up in a SQLite store that does not exist: MLflow would make an empty one."""
    file = Path(uri.removeprefix(SQLITE))
    if uri.startswith(SQLITE) and not file.is_file():
        raise TrackingError(f"tracking: {wanted} cannot be looked up: there is no store {file}; {remedy}")


def _set_environment(wanted: Mapping[str, str]) -> None:
    """Set MLflow's variables, except those set by the user."""
    for key, value in wanted.items():
        if os.environ.get(key) in (None, _set.get(key)):
            os.environ[key] = _set[key] = value


def _reachable(uri: str) -> None:
    """Fail in seconds if no server answers; MLflow would try for minutes."""
    check_opens(uri)
    parts = urlsplit(uri)
    proxied = parts.scheme in getproxies()
    if parts.scheme in ("http", "https") and parts.hostname is not None and not proxied:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname, port), timeout=5).close()
        except OSError as error:
            raise TrackingError(
                f"tracking: no server answers at {masked(uri)} ({error}); start it or set `tracking.uri`, then "
                "try again"
            ) from None


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn an error of MLflow into a one-line TrackingError that names the failed `action`."""
    try:
        yield
    except FAILURES as error:
        text = masked(" ".join(str(error).split()))
        raise TrackingError(f"tracking: {masked(action)}: {text[:400]}") from error


def refused(error: BaseException) -> bool:
    """Whether a server will refuse this every time."""
    return isinstance(error, MlflowException) and error.error_code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


def cut(text: str, limit: int = 5000) -> str:
    """`text` cut to `limit` characters, which MLflow's tables can hold."""
    mark = " [cut]"
    return text if len(text) <= limit else text[: limit - len(mark)] + mark


def local_artifacts(client: MlflowClient, run_id: str) -> Path | None:
    """The folder of a run's artifacts if this machine holds them; None if a server does."""
    path, uri = local_path(str(client.get_run(run_id).info.artifact_uri)), str(client.tracking_uri)
    if path is None or not uri.startswith(SQLITE):
        return path
    return beside(path, Path(uri.removeprefix(SQLITE)))
