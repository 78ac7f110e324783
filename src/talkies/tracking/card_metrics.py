"""The metrics of a card: the few that it begins with stand in its front matter, all of them in a table of its body."""

import html
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from talkies.evaluation.measures import MEASURES
from talkies.tracking.markdown import escaped, folded, table

Front = Mapping[str, Any]
TITLE = "Every metric"
_OTHERS = "metrics"
"""In `talkies` of a front matter: the metrics that it is written without."""
_BACKSLASH = re.compile(r"\\(.)")


def headline(metrics: Mapping[str, float], gated: Iterable[str]) -> list[str]:
    """Names of the metrics that a card begins with: the known ones, each with its ceiling and control, and what the
    gates are about; not of synchronisation where nothing speaks."""
    beside = [key for one in MEASURES if one.speaks(metrics) for key in (one.key, one.ceiling, one.control)]
    return [key for key in dict.fromkeys([*beside, *gated]) if isinstance(key, str) and key in metrics]


def metrics_of(front: Front) -> dict[str, float]:
    """The metrics of a card, in order of their names."""
    told = {entry["type"]: entry["value"] for entry in _entries(front)}
    return dict(sorted({**front["talkies"].get(_OTHERS, {}), **told}.items()))


def with_metrics(front: dict[str, Any], metrics: Mapping[str, float]) -> None:
    """Put `metrics` into a front matter: those of the headline that are finite for the Hub, the others beside."""
    gated = [gate["metric"] for gate in front["talkies"]["gates"]]
    names = [name for name in headline(metrics, gated) if math.isfinite(metrics[name])]
    _entries(front)[:] = [{"type": name, "value": float(metrics[name])} for name in names]
    others = {name: _rounded(value) for name, value in sorted(metrics.items()) if name not in names}
    front["talkies"][_OTHERS] = others


def written(front: Front) -> dict[str, Any]:
    """A front matter as its file has it."""
    return {**front, "talkies": {key: value for key, value in front["talkies"].items() if key != _OTHERS}}


def every_metric(front: Front) -> str:
    """The table of all, folded."""
    rows = [[escaped(name), f"{_rounded(value)!r}"] for name, value in metrics_of(front).items()]
    return folded(f"{TITLE} ({len(rows)})", table(["metric", "value"], rows) if rows else "Nothing was measured.")


def metrics_in(body: str) -> dict[str, float]:
    """What `every_metric` says in the body of a card; empty where it stands there no more. ValueError for a row that
    is none."""
    _, _, rest = body.partition(f"<details>\n<summary>{TITLE} (")
    rows = [line for line in rest.partition("\n</details>")[0].split("\n") if line.startswith("|")][2:]
    return dict(map(_cells, rows))


def _cells(row: str) -> tuple[str, float]:
    name, _, value = row.strip("| ").rpartition(" | ")
    try:
        return html.unescape(_BACKSLASH.sub(r"\1", name)), float(value)
    except ValueError:
        raise ValueError(f"a row of `{TITLE}` has no number") from None


def _entries(front: Front) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = front["model-index"][0]["results"][0]["metrics"]
    return entries


def _rounded(value: float) -> float:
    """Six significant digits, as the table shows it."""
    return float(f"{value:.6g}")
