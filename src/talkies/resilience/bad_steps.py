"""The samples of a bad optimizer step: their summary in a message, and RUN/bad_steps/step-N.json, which names all."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from talkies.config import StorageError
from talkies.config.plain_json import canonical_json
from talkies.files.durable import write_text

Records = Sequence[Sequence[Mapping[str, Any]]]
"""The micro-batches of the step (`Micro.as_record()`) by rank."""
MAX_NAMED = 8
"""How many clips of a rank a message names; the record names all."""


def described(ranks: Records) -> str:
    """The end of a sentence about the step: the ranks with non-finite losses, and the samples of the first of them."""
    worst = [rank for rank, micros in enumerate(ranks) if not all(map(_finite, micros))]
    first = worst[0] if worst else 0
    ids = [name for micro in ranks[first] for name in micro["ids"]]
    more = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    bad = f" (losses that are not finite on rank {', '.join(map(str, worst))})" if worst else ""
    losses = "; ".join(f"{m} {_mean(ranks[first], m)}" for m in ranks[first][0]["losses"]) if ranks[first] else ""
    return f"{bad}; rank {first} had {', '.join(ids[:MAX_NAMED])}{more}, mean losses {losses}"


def record(folder: Path, *, step: int, kind: str, what: str, ranks: Records) -> str:
    """Write the record and return where it lies, as the end of a sentence. A failed write must not end a run that
    would continue."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # After a rollback the same step may be bad again, with other samples.
        known = len([*folder.glob(f"step-{step:08d}*.json")])
        path = folder / f"step-{step:08d}{f'-{known + 1}' if known else ''}.json"
        write_text(path, canonical_json({"step": step, "kind": kind, "what": what, "ranks": ranks}) + "\n")
    except (OSError, StorageError) as error:
        return f"; the record of all samples could not be written: {error}"
    return f"; all samples in {path}"


def _finite(micro: Mapping[str, Any]) -> bool:
    return all(math.isfinite(float(value)) for values in micro["losses"].values() for value in values)


def _mean(micros: Sequence[Mapping[str, Any]], modality: str) -> str:
    values = [float(value) for micro in micros for value in micro["losses"][modality]]
    return f"{statistics.fmean(values):.4g}"
