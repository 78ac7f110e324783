"""An experiment's page in MLflow: its runs, and a saved view with three charts.

MLflow 3.17 opens every experiment on its GenAI page unless the browser or the address selects model training: so that
address is printed (`mlflow_run.page`). Other versions use the kind that is set here. A view is a tag in MLflow's own
format, which may change; a version that cannot read the view only omits it from its list.
"""

import json
import logging
import time
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Experiment

from talkies.tracking.mlflow_run import VIEW
from talkies.tracking.store import FAILURES

KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
_log = logging.getLogger(__name__)


def tags() -> dict[str, str]:
    """The tags of an experiment of training runs."""
    return {KIND: TRAINING, VIEW_TAG: _view()}


def dress(client: MlflowClient, experiment: Experiment) -> None:
    """Set the tags that `experiment` lacks; existing ones stay. A server that does not allow this causes only a
    warning."""
    for key, value in tags().items():
        if key not in experiment.tags:
            try:
                client.set_experiment_tag(experiment.experiment_id, key, value)
            except FAILURES as error:
                _log.warning("experiment %s: cannot set %s: %.200s", experiment.name, key, error)
                return


def _view() -> str:
    """The saved view: phases without the curriculum's own run, which has no metrics, and three charts."""
    charts = [
        _chart("LINE", "Training loss", "train/video", "train/audio", "train/sound"),
        _chart("LINE", "Held-out loss", "heldout/video", "heldout/audio", "heldout/sound"),
        _chart("BAR", "Synchronisation", "evaluation/sync"),
    ]
    state = {
        "searchFilter": "params.phase LIKE '%'",
        "orderByKey": "attributes.`run_name`",
        "orderByAsc": True,
        "compareRunCharts": charts,
        "compareRunSections": [{"uuid": VIEW, "name": "At a glance", "display": True, "isReordered": False}],
        "isAccordionReordered": True,
    }
    now = time.time_ns() // 1_000_000
    view = {"name": "Losses and synchronisation", "createdAt": now, "updatedAt": now, "state": json.dumps(state)}
    return json.dumps(view)


def _chart(kind: str, title: str, *keys: str) -> dict[str, Any]:
    chart = {"type": kind, "uuid": f"{VIEW}-{keys[0]}", "displayName": title, "metricSectionId": VIEW}
    several = {"selectedMetricKeys": list(keys)} if len(keys) > 1 else {}
    return {**chart, "metricKey": keys[0], **several, "deleted": False, "isGenerated": False}
