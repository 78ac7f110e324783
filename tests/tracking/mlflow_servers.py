"""MLflow servers that tests start, stop and start again."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from talkies.parallel.launch import _free_port


def free_port() -> int:
    """A port that nothing uses, and that no connection gets as its local end before a server listens there."""
    return _free_port()


def wait_for(true: Callable[[], object], what: str, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def serve_here(monkeypatch: pytest.MonkeyPatch, folder: Path, store: str) -> None:
    """Point MLflow's own server application, in this process, at `store` and at artifacts below `folder`."""
    import mlflow.server
    from mlflow.server import handlers

    with warnings.catch_warnings():
        # mlflow 3.17 imports starlette.middleware.wsgi when a server searches runs for the first time
        warnings.filterwarnings("ignore", message="starlette.middleware.wsgi is deprecated")
        import mlflow.server.fastapi_app

    for key, value in {
        mlflow.server.BACKEND_STORE_URI_ENV_VAR: store,
        mlflow.server.SERVE_ARTIFACTS_ENV_VAR: "true",
        mlflow.server.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        mlflow.server.ARTIFACTS_DESTINATION_ENV_VAR: str(folder / "served"),
    }.items():
        monkeypatch.setenv(key, value)
    for name in ("_tracking_store", "_model_registry_store", "_artifact_repo"):
        monkeypatch.setattr(handlers, name, None)


@contextmanager
def listening(port: int) -> Iterator[str]:
    """MLflow's server application answers at `port` while the block runs: `serve_here` first."""
    import mlflow.server
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", port, mlflow.server.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def process(folder: Path, store: str, port: int) -> Iterator[str]:
    """A real `mlflow server` with all its processes, which is killed at the end."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(folder / "served")]
    with (folder / "server.log").open("ab") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _healthy(uri), f"{uri} ({folder / 'server.log'})")
        yield uri
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@contextmanager
def silent() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port := free_port()))
        listener.listen(64)
        yield f"http://127.0.0.1:{port}"


def _healthy(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
