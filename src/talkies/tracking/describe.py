"""What the registry holds of a version besides its files: tags, a description, and the card."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mlflow import MlflowClient

from talkies.tracking.card_body import body, brief
from talkies.tracking.card_text import Card, front_matter, yaml_text
from talkies.tracking.gates import GateResult
from talkies.tracking.store import cut
from talkies.tracking.undo import Undo

PICTURES = "get-artifact?run_uuid={run}&path=cards/"
"""Relative address, on MLflow's page, of a file in the artifact folder `cards` of a run."""


def measured(metrics: Mapping[str, float], gates: Sequence[GateResult]) -> dict[str, str]:
    """The tags with the metrics and gates that a version was promoted by."""
    values = {key: float(value) for key, value in metrics.items()}
    return {"metrics": json.dumps(values), "gates": json.dumps([asdict(gate) for gate in gates])}


def describe(
    client: MlflowClient,
    card: Card,
    after: Mapping[str, str],
    undo: Undo,
    *,
    previous: Mapping[str, str],
    scratch: Path,
) -> None:
    """Record in the registry what a version was promoted by: as tags, as its description, and as the card in its run.
    `after`: the aliases as they will be; `previous`: the tag with the alias's version before; `scratch`: a folder for
    temporary files. `undo` restores tags and description."""
    known = client.get_model_version(card.name, card.version)
    for key, text in {**measured(card.metrics, card.gates), **previous}.items():
        undo.add(_tag, client, card, key, known.tags.get(key))
        _tag(client, card, key, text)
    front = front_matter(card, [alias for alias, version in after.items() if version == card.version])
    undo.add(client.update_model_version, card.name, card.version, known.description or "")
    stored = PICTURES.format(run=card.run_id)
    client.update_model_version(card.name, card.version, description=cut(brief(front, stored=stored)))
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".card-") as folder:
        shown = body(front, stored=stored)  # MLflow's page would show front matter as text
        files = {
            card.file: shown.encode(),
            Path(card.file).with_suffix(".yaml").name: yaml_text(front).encode(),
            **card.files,
        }
        for path, data in files.items():
            (Path(folder) / path).parent.mkdir(exist_ok=True)
            (Path(folder) / path).write_bytes(data)
        client.log_artifacts(card.run_id, folder, artifact_path="cards")


def _tag(client: MlflowClient, card: Card, key: str, text: str | None) -> None:
    """Set a tag of a version; None removes it."""
    if text is None:
        client.delete_model_version_tag(card.name, card.version, key)
    else:
        client.set_model_version_tag(card.name, card.version, key, text)
