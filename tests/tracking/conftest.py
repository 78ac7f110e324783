"""A real MLflow SQLite store per test, copied from one that is made once."""

import shutil
import warnings
from pathlib import Path

import pytest

from talkies.tracking.config import TrackingConfig


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised MLflow database: MLflow takes seconds to make one."""
    from talkies.tracking.store import open_client

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with warnings.catch_warnings():
        # mlflow 3.17 under SQLAlchemy 2.1: configure_mappers warns of lazy="noload" once, at the first SQL store
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")
        open_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """URI of a fresh store under tmp_path."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def config() -> TrackingConfig:
    return TrackingConfig(experiment="toy", register="toy-model")
