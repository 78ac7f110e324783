"""Training through the command line with an MLflow server: one that answers, and one that never does."""

import contextlib
import io
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow_servers import process, silent
from toy_run import RECIPES, TINY, ToyRun

import talkies.runs.run_phase  # before anything is timed
from talkies.checkpoints.release import load_component, release_sha256
from talkies.cli.main import run
from talkies.media.probe import probe
from talkies.tracking import spool
from talkies.tracking.mlflow_run import read_mlflow_run
from talkies.tracking.records import SPOOL, read
from talkies.tracking.store import open_client

pytestmark = pytest.mark.timeout(600)
AUDIO = str(RECIPES / "audio_pretraining.yaml")
WAIT_S = 2.0


@dataclass(frozen=True)
class Stalled:
    """A run whose server at `uri` accepted every connection and never answered."""

    uri: str
    folder: Path
    code: int
    seconds: float
    output: str


@pytest.fixture(scope="module")
def stalled(toy_run: ToyRun, tmp_path_factory: pytest.TempPathFactory) -> Stalled:
    runs = tmp_path_factory.mktemp("stalled")
    with silent() as uri, pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as output:
        patch.setattr(talkies.runs.run_phase, "UPLOAD_S", WAIT_S)
        words = [*TINY, f"data.root={toy_run.data}", f"tracking.uri={uri}", "--runs", str(runs), "--quiet"]
        began = time.monotonic()
        code = run(["train", AUDIO, *words])
        seconds = time.monotonic() - began
    (folder,) = runs.glob("audio_pretraining-*/0001")
    for uploader in spool._detached:
        if str(folder) in list(map(str, uploader.args)):  # type: ignore[arg-type]
            uploader.kill()  # the end of the job ends everything that it started
            uploader.wait()
    return Stalled(uri=uri, folder=folder, code=code, seconds=seconds, output=output.getvalue())


@pytest.fixture(scope="module")
def server(toy_run: ToyRun, stalled: Stalled, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mlflow server` at the address of the silent one; its database is a copy of one that MLflow made before."""
    folder = tmp_path_factory.mktemp("server")
    with (
        contextlib.closing(sqlite3.connect(toy_run.runs / "mlflow.db")) as old,
        contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as new,
    ):
        old.backup(new)
    port = urlsplit(stalled.uri).port
    assert port is not None
    with process(folder, f"sqlite:///{folder / 'mlflow.db'}", port) as uri:
        assert uri == stalled.uri
        yield uri


def each_metric_once(uri: str, folder: Path) -> int:
    """The number of points of training metrics on the server, which must be those of the spool, each once."""
    identity = read_mlflow_run(folder)
    assert identity is not None
    assert identity.tracking_uri == uri
    records = [record for _, record in read(folder / SPOOL, 0) if record is not None and record["kind"] == "metrics"]
    wanted = sorted(
        (key, record["step"], record["time"], float(value))
        for record in records
        for key, value in record["values"].items()
    )
    client = open_client(uri)
    found = sorted(
        (key, point.step, point.timestamp, point.value)
        for key in {entry[0] for entry in wanted}
        for point in client.get_metric_history(identity.mlflow_run_id, key)
    )
    assert found == wanted
    return len(found)


@pytest.mark.fault("22", "tracking server down", injected="a server that takes connections and never answers")
def test_a_silent_server_delays_nothing_and_the_remedy_is_printed(
    stalled: Stalled, toy_run: ToyRun, record_outcome: Callable[..., None]
) -> None:
    assert stalled.code == 0
    assert f"`talkies replay {stalled.folder}` sends the rest" in stalled.output
    kinds = [record["kind"] for _, record in read(stalled.folder / SPOOL, 0) if record is not None]
    assert len(kinds) > 10
    assert stalled.seconds < 5 * len(kinds), "a request waits 5 s for its answer: there was not one per record"
    assert not (stalled.folder / "run.json").exists()
    ours, theirs = (
        load_component(folder / "release", "audio") for folder in (stalled.folder, toy_run.phase("audio_pretraining"))
    )
    assert all(bool((ours[key] == theirs[key]).all()) for key in theirs)
    record_outcome("exit 0, the same weights")


@pytest.mark.fault("22", "tracking server down", injected="a server that takes connections and never answers")
def test_replay_puts_each_metric_exactly_once(
    stalled: Stalled, server: str, capsys: pytest.CaptureFixture[str], record_outcome: Callable[..., None]
) -> None:
    assert run(["replay", str(stalled.folder)]) == 0
    count = each_metric_once(server, stalled.folder)
    assert count > 10
    (line,) = capsys.readouterr().out.splitlines()
    assert f"{count} metrics sent, {count} in run" in line
    assert run(["replay", str(stalled.folder)]) == 0
    assert f"0 metrics sent, {count} in run" in capsys.readouterr().out
    assert each_metric_once(server, stalled.folder) == count
    record_outcome("replay: every metric once")


def test_train_promote_and_sample_with_a_server_in_the_recipe(
    toy_run: ToyRun, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("defaults.yaml", "audio_pretraining.yaml"):
        shutil.copyfile(RECIPES / name, name)
    own = f"extends: audio_pretraining.yaml\ntracking: {{experiment: served, uri: '{server}', register: served-toy}}\n"
    Path("served.yaml").write_text(own)
    assert run(["train", "served.yaml", *TINY, f"data.root={toy_run.data}", "--quiet"]) == 0
    (folder,) = Path("runs").glob("audio_pretraining-*/0001")
    capsys.readouterr()
    assert run(["promote", str(folder)]) == 0
    assert each_metric_once(server, folder) > 10
    output = capsys.readouterr()
    assert "models:/served-toy@champion is version 1 (was unset)" in output.out
    assert output.err == ""

    client, identity = open_client(server), read_mlflow_run(folder)
    assert identity is not None
    made = client.get_run(identity.mlflow_run_id)
    assert made.info.status == "FINISHED"
    assert client.get_experiment(made.info.experiment_id).name == "served"
    assert made.data.params["phase"] == "audio_pretraining"
    assert {"heldout/audio", "evaluation/frechet_audio"} <= set(made.data.metrics)
    assert {file.path for file in client.list_artifacts(identity.mlflow_run_id)} >= {"recipe", "release", "cards"}
    version = client.get_model_version_by_alias("served-toy", "champion")
    assert version.tags["sha256"] == release_sha256(folder / "release")

    words = ["--prompt", "A happy man", "--out", "made.mp4", "--tracking-uri", server]
    assert run(["sample", "models:/served-toy@champion", *words]) == 0
    assert probe(Path("made.mp4")).audio_seconds == pytest.approx(2.0, abs=0.1)
    assert not list(tmp_path.rglob("*.db")), "nothing went anywhere else"
