"""The facts of a model card: YAML front matter made from a release and its metrics.

No sentence of a card is written by hand, so none can contradict the registry: the body is a function of the front
matter (`card_body.py`). The keys outside `talkies` are the Hub's (https://huggingface.co/docs/hub/model-cards).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from talkies.config.migrations import migrated
from talkies.config.places import SQLITE
from talkies.config.regular_files import resolved
from talkies.config.secrets import bare
from talkies.config.single_line import flat
from talkies.tracking.card_body import body
from talkies.tracking.card_metrics import metrics_in, metrics_of, with_metrics, written
from talkies.tracking.card_record import check
from talkies.tracking.gates import GateResult

Front = dict[str, Any]
FENCE = "---"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A sampled clip of the version: its `prompt`, a `picture` (JPEG) of it, and its `first` frame (PNG)."""

    prompt: str
    picture: bytes
    first: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """The facts of a card: a registered version, its release.json (`info`), its metrics and gates, a few `samples`; the
    media that are `made`, what it says of the `voices` that it was trained on, and what `talkies sample` takes:
    option -> what it is for. `store`: where it is registered; `shelf`: the folder above the cards of all models."""

    name: str
    version: str
    sha256: str
    run_id: str
    license: str
    info: Mapping[str, Any]
    metrics: Mapping[str, float]
    gates: Sequence[GateResult]
    voices: str | None = None
    samples: Sequence[Sample] = ()
    made: Sequence[str] = ()
    takes: Mapping[str, str] = field(default_factory=dict)
    store: str = ""
    shelf: Path = Path()

    @property
    def file(self) -> str:
        """The card's file in the model's folder; its pictures are in a folder of that name without the suffix."""
        return f"version-{int(self.version):04d}.md"

    @property
    def pictures(self) -> dict[str, bytes]:
        """Path relative to the card -> picture of a sample."""
        folder = self.file.removesuffix(".md")
        return {f"{folder}/sample-{number:02d}.jpg": sample.picture for number, sample in enumerate(self.samples)}

    @property
    def files(self) -> dict[str, bytes]:
        """Path relative to the card -> file beside it: the pictures, and the first frame of the first sample."""
        first = self.samples[0].first if self.samples else None
        return self.pictures if first is None else {**self.pictures, self.first: first}

    @property
    def first(self) -> str:
        """The path of the first sample's first frame, relative to the card."""
        return f"{self.file.removesuffix('.md')}/first.png"


def _task(card: Card) -> str:
    """The Hub's name of what it does, which has none for sound to video. A card that does not say what it takes is of
    a model that takes an image, as all did."""
    if "video" not in card.info["data"]["grids"]:
        return "text-to-audio"
    return "text-to-video" if card.made and "image" not in card.takes else "image-to-video"


def front_matter(card: Card, aliases: Sequence[str]) -> Front:
    """The front matter of a card; `aliases`: those of this version. Every text in it is on one line."""
    info = card.info
    task = _task(card)
    parents = [{"component": component, **lineage} for component, lineage in sorted(info["parents"].items())]
    front: Front = {
        "license": card.license,
        "library_name": "talkies",
        "pipeline_tag": task,
        "tags": ["talkies", "synthetic-media", *sorted(info["data"]["grids"])],
        "datasets": [info["data"]["shards"]],
    }
    if parents:
        front["base_model"] = sorted({parent["name"] for parent in parents})
        front["base_model_relation"] = "adapter" if info["base"] else "finetune"
    front["model-index"] = [{"name": card.name, "results": [_result(card, task)]}]  # with_metrics fills it
    front["talkies"] = {
        "name": card.name,
        "version": int(card.version),
        "aliases": sorted(aliases),
        "sha256": card.sha256,
        "run_id": card.run_id,
        "server": _server(card.store),
        **_where(card),
        **{key: info[key] for key in ("phase", "step", "weights", "recipe_hash", "commit")},
        "recipe": info["name"],
        "components": {name: part["parameters"] for name, part in sorted(info["components"].items())},
        "base": None if not info["base"] else {key: info["base"][key] for key in ("name", "sha256")},
        "parents": parents,
        "data": {
            key: info["data"][key]
            for key in ("shards", "clips", "fingerprint", "heldout_fingerprint", "geometry", "fps")
        },
        "codec_kinds": {name: part["kind"] for name, part in sorted(migrated(info["recipe"])["codecs"].items())},
        "codecs": _codecs(info),
        "survival": info["survival"],
        "quarantined": info["quarantined"],
        "gates": [
            {"metric": g.metric, "op": g.op, "needed": g.needed, "found": g.found, "passed": g.passed}
            for g in card.gates
        ],
        **({"voices": card.voices} if card.voices else {}),
        **({"made": [*card.made], "takes": dict(card.takes)} if card.made else {}),
        "samples": [
            {"picture": path, "prompt": sample.prompt} for path, sample in zip(card.pictures, card.samples, strict=True)
        ],
        "first": card.first if card.first in card.files else None,
    }
    lined: Front = _lined(front)
    with_metrics(lined, {flat(key): value for key, value in card.metrics.items()})
    return lined


def _lined(value: Any) -> Any:
    """A copy with every text on one line, since records of older versions and captions may contain line breaks."""
    if isinstance(value, Mapping):
        return {flat(key): _lined(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_lined(entry) for entry in value]
    return flat(value) if isinstance(value, str) else value


def _server(store: str) -> str | None:
    """The tracking server that a reader must name, without credentials; None for a database or a file, which other
    machines cannot open."""
    return bare(store) if urlsplit(store).scheme in ("http", "https") else None


def _where(card: Card) -> dict[str, str | None]:
    """The folders for the card's command, which works beside the folder `runs` (None: "runs"): `runs`, and `shelf`, the
    path from there to the cards."""
    database = Path(card.store.removeprefix(SQLITE)) if card.store.startswith(SQLITE) else None
    runs = Path("runs") if database is None else resolved(database.parent)
    working_folder = Path.cwd() if database is None else runs.parent
    shelf = os.path.relpath(resolved(card.shelf), working_folder)
    return {"runs": None if runs.name == "runs" else runs.name, "shelf": shelf}


def _codecs(info: Mapping[str, Any]) -> dict[str, str]:
    """The codecs of the release: the identities that it records, and the hashes of the files that it carries."""
    carried = {name: entry["sha256"] for name, entry in sorted(info["files"].items()) if name.startswith("codecs/")}
    return {**info["codecs"], **carried}


def _result(card: Card, task: str) -> dict[str, Any]:
    data = card.info["data"]
    return {
        "task": {"type": task},
        "dataset": {
            "name": f"{data['shards']} held out",
            "type": "talkies-shards",
            "revision": data["heldout_fingerprint"],
        },
        "metrics": [],
    }


def card_text(front: Front) -> str:
    """The card file: `front` and the body rendered from it."""
    return f"{FENCE}\n{yaml_text(front)}{FENCE}\n\n{body(front)}"


def yaml_text(front: Front) -> str:
    """The front matter as YAML, in ASCII."""
    return str(yaml.safe_dump(written(front), sort_keys=False, allow_unicode=False))


def parse_card(text: str, path: Path = Path("card")) -> Front:
    """The front matter of the card file `path`, with the metrics that only its body holds (older versions have all in
    the front matter). Raises ValueError if it has no front matter, DataError for front matter that is not a card's."""
    first, *lines = text.split("\n")
    if first != FENCE or FENCE not in lines:
        raise ValueError(f"it does not begin with front matter between two lines {FENCE}")
    try:
        end = lines.index(FENCE)
        front = yaml.safe_load("\n".join(lines[:end]))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"its front matter is not YAML: {flat(error, 200)}") from None
    if not isinstance(front, dict) or not isinstance(front.get("talkies"), dict):
        raise ValueError("its front matter has no `talkies`")
    check(front, path)
    with_metrics(front, {**metrics_in("\n".join(lines[end:])), **metrics_of(front)})
    return front
