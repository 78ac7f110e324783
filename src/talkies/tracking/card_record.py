"""The required form of a card's front matter, from which MODEL_CARDS.md and the card's body are rendered."""

import json
import math
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from talkies.config.numbers import Natural
from talkies.config.records import Kind, Name, Reading, record


@record
class MetricRecord:
    """One metric, in the Hub's form."""

    type: str
    value: Reading


@record
class CardResults:
    """The metrics on one set."""

    metrics: tuple[MetricRecord, ...]


@record
class ModelRecord:
    """An entry of the Hub's model-index."""

    results: Annotated[tuple[CardResults, ...], Field(min_length=1)]


@record
class NamedRecord:
    """A base, and its hash."""

    name: str
    sha256: str


@record
class ParentRecord:
    """The parent of a component."""

    component: str
    name: str
    step: Natural
    sha256: str


@record
class SetRecord:
    """The sets that it was trained and evaluated on."""

    shards: str
    clips: Natural
    fingerprint: str
    heldout_fingerprint: str
    geometry: str


@record
class SkippedStep:
    """An optimizer step that was skipped."""

    step: Natural
    what: str


@record
class KeptRecord:
    """What a run left out."""

    skipped_steps: tuple[SkippedStep, ...] = ()
    passed_batches: tuple[tuple[Natural, Natural], ...] = ()


@record
class CardReplaced:
    """Clips that were replaced."""

    clips: Natural = 0


@record
class GateRecord:
    """A gate, and what was found for it."""

    metric: str
    op: str
    needed: Reading
    found: Reading | None
    passed: bool


@record
class SampleRecord:
    """A sampled clip on the card."""

    picture: Name
    prompt: str


@record
class TalkiesRecord:
    """Keys that are not the Hub's. Cards of older versions lack `server`, `codec_kinds`, `samples`, `first`, `runs`,
    `shelf`, `made` and `takes`."""

    name: Name
    version: Natural
    aliases: tuple[str, ...]
    sha256: str
    run_id: str
    phase: str
    step: Natural
    weights: str
    recipe: str
    recipe_hash: str
    commit: str
    components: dict[str, Natural]
    base: NamedRecord | None
    parents: tuple[ParentRecord, ...]
    data: SetRecord
    codecs: dict[str, str]
    gates: tuple[GateRecord, ...]
    survival: KeptRecord = KeptRecord()
    quarantined: CardReplaced = CardReplaced()
    codec_kinds: dict[str, str] = field(default_factory=dict)
    samples: tuple[SampleRecord, ...] = ()
    server: str | None = None
    first: Name | None = None
    runs: Name | None = None
    shelf: Name | None = None
    made: tuple[str, ...] = ()
    takes: dict[str, str] = field(default_factory=dict)
    voices: str | None = None


@record
class CardRecord:
    """The front matter of a card."""

    license: str
    pipeline_tag: str
    tags: tuple[str, ...]
    model_index: Annotated[tuple[ModelRecord, ...], Field(min_length=1, alias="model-index")]
    talkies: TalkiesRecord


CARD = Kind(holds=CardRecord, about="cards", remedy="restore it, or remove it", limit=1 << 24)


def check(front: Any, path: Path) -> None:
    """DataError if the front matter of the card `path` lacks what every card has."""
    try:
        text = json.dumps(_with_text_numbers(front), default=str)
    except (TypeError, ValueError, RecursionError):
        raise CARD.damaged(path, "its front matter is not a plain mapping") from None
    CARD.decode(text.encode(), str(path))


def _with_text_numbers(value: Any) -> Any:
    """A copy with numbers that are not finite as text: YAML has them, JSON does not."""
    if isinstance(value, dict):
        return {key: _with_text_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_text_numbers(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
