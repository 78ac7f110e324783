"""An experiment's page in MLflow."""

import json
import shutil
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import ViewType
from mlflow_servers import free_port, process

from talkies.tracking.config import TrackingConfig
from talkies.tracking.mlflow_run import VIEW, MlflowRun, page, read_mlflow_run, write_mlflow_run
from talkies.tracking.page import KIND, TRAINING, VIEW_TAG
from talkies.tracking.replay import replay
from talkies.tracking.store import open_client

MakeRun = Callable[..., Path]


def test_a_fresh_store_has_no_empty_experiment(empty_store: Path, tmp_path: Path) -> None:
    client = open_client(f"sqlite:///{empty_store}")
    assert client.search_experiments() == []
    (default,) = client.search_experiments(view_type=ViewType.DELETED_ONLY)
    assert (default.name, default.experiment_id) == ("Default", "0")
    assert open_client(f"sqlite:///{empty_store}").search_experiments() == []  # MLflow does not make it again


def test_other_experiments_of_a_store_stay(store: str) -> None:
    client = open_client(store)
    client.restore_experiment("0")
    assert [found.name for found in open_client(store).search_experiments()] == ["Default"]


def test_an_experiment_is_marked_for_training_and_has_a_view_of_charts(made_run: MakeRun, store: str) -> None:
    replay(made_run("joint"))
    (experiment,) = open_client(store).search_experiments()
    assert experiment.tags[KIND] == TRAINING
    view = json.loads(experiment.tags[VIEW_TAG])
    state = json.loads(view["state"])
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert len(state["compareRunCharts"]) == 3
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == 3
    assert (type(view["name"]), type(view["createdAt"]), type(view["state"])) == (str, int, str)  # or MLflow omits it


def test_an_older_experiment_is_marked_and_existing_tags_stay(
    made_run: MakeRun, config: TrackingConfig, store: str
) -> None:
    client = open_client(store)
    known = client.create_experiment(config.experiment, tags={KIND: "genai_development"})
    replay(made_run("joint"))
    tags = client.get_experiment(known).tags
    assert tags[KIND] == "genai_development"
    assert VIEW_TAG in tags


def test_the_experiment_is_added_to_a_run_of_an_older_version(made_run: MakeRun, store: str) -> None:
    run = made_run("joint")
    replay(run)
    found, client = read_mlflow_run(run), open_client(store)
    assert found is not None
    assert found.experiment_id is not None
    for key in (KIND, VIEW_TAG):
        client._tracking_client.store.delete_experiment_tag(found.experiment_id, key)
    write_mlflow_run(run, replace(found, experiment_id=None))
    assert page(replace(found, experiment_id=None)) is None
    replay(run)
    assert read_mlflow_run(run) == found
    assert client.get_experiment(found.experiment_id).tags.keys() >= {KIND, VIEW_TAG}


def test_the_page_is_that_of_the_charts() -> None:
    known = MlflowRun(mlflow_run_id="r", experiment="toy", tracking_uri="sqlite:////x.db", created=1, experiment_id="7")
    shown = f"runs?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={VIEW}"
    assert page(known) == f"http://127.0.0.1:5000/#/experiments/7/{shown}"
    assert page(replace(known, tracking_uri="https://host/a/")) == f"https://host/a/#/experiments/7/{shown}"
    assert page(replace(known, tracking_uri="postgresql+psycopg2://me@host/x")) == page(known)
    assert page(replace(known, tracking_uri="databricks")) is None


def test_the_installed_page_knows_our_tags_and_address() -> None:
    """Kind, view and address are undocumented details of MLflow, which another release may have changed."""
    import mlflow.server

    scripts = (Path(mlflow.server.__file__).parent / "js" / "build" / "static" / "js").glob("*.js")
    text = "".join(script.read_text(encoding="utf-8") for script in scripts)
    for key in (KIND, TRAINING, VIEW_TAG.removesuffix(VIEW), "viewStateShareKey", "workflowType", "machine_learning"):
        assert f'"{key}' in text, key
    for key in ("compareRunCharts", "compareRunSections", "isAccordionReordered", "searchFilter", "selectedMetricKeys"):
        assert key in text, key
    assert "envelope: expected an object with a string `name`, number `createdAt`, and string `state`" in text


@pytest.mark.slow
def test_a_real_server_serves_a_store_without_its_default(made_run: MakeRun, tmp_path: Path, store: str) -> None:
    replay(made_run("joint"))
    shutil.copyfile(tmp_path / "mlflow.db", tmp_path / "served.db")
    with process(tmp_path, f"sqlite:///{tmp_path / 'served.db'}", free_port()) as uri:
        client = open_client(uri)
        (experiment,) = client.search_experiments()
        assert (experiment.name, experiment.tags[KIND]) == ("toy", TRAINING)
        assert [run.info.run_name for run in client.search_runs([experiment.experiment_id])] == ["joint"]
        with urllib.request.urlopen(uri) as answer:
            assert b"<title>MLflow</title>" in answer.read()
