"""A real MLflow SQLite store for each test, copied from one that is made once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tracking_release import LINEAGE, info

from talkies.checkpoints.release import release_sha256, write_release
from talkies.tracking.config import TrackingConfig
from talkies.tracking.spool import Tracker


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised MLflow database: MLflow takes seconds to make one."""
    from talkies.tracking.store import open_client

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
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


@pytest.fixture
def made_run(tmp_path: Path, config: TrackingConfig, request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Make a finished, tracked run with a release of its own weights (or an adapter over `base`)."""

    def make(name: str, *, base: Path | None = None, seed: int = 0, store: str | None = None) -> Path:
        folder = tmp_path / name
        local = None if store else tmp_path / "artifacts"
        uri = store or request.getfixturevalue("store")
        tracker = Tracker(folder, config, name=name, store=uri, artifact_root=local)
        tracker.status("FINISHED")
        tracker.close()
        weights = {"w": torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))}
        codecs = tmp_path / "codecs"
        (codecs / "audio").mkdir(parents=True, exist_ok=True)
        (codecs / "audio" / "config.json").write_text("{}")
        if base is None:
            write_release(folder / "release", components={"audio": weights}, info=info(name=name), codecs_folder=codecs)
            return folder
        named = {"sha256": release_sha256(base), "path": str(base), "name": "joint"}
        parents = {"audio": {**LINEAGE, "sha256": named["sha256"]}}
        lora = info(name=name, phase="lora", parents=parents)
        write_release(folder / "release", components={}, info=lora, adapter=(weights, "{}"), base=named)
        return folder

    return make
