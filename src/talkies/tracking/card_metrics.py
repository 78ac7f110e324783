"""The metrics of a card: a few main ones in its front matter, and all of them in a table of its body."""

import html
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from talkies.evaluation.metric_info import METRICS
from talkies.tracking.markdown import escaped, folded, table

Front = Mapping[str, Any]
TITLE = "Every metric"
_OTHERS = "metrics"
"""Key in `talkies` of a front matter for the metrics that are not written to the file's front matter."""
_BACKSLASH = re.compile(r"\\(.)")


def headline(metrics: Mapping[str, float], gated: Iterable[str]) -> list[str]:
    """Names of the metrics that a card begins with: the meaningful ones of METRICS, each with its ceiling and control,
    and those of the gates."""
    beside = [key for one in METRICS if one.applies_to(metrics) for key in (one.key, one.ceiling, one.control)]
    return [key for key in dict.fromkeys([*beside, *gated]) if isinstance(key, str) and key in metrics]


def metrics_of(front: Front) -> dict[str, float]:
    """The metrics of a card, sorted by name."""
    main = {entry["type"]: entry["value"] for entry in _entries(front)}
    return dict(sorted({**front["talkies"].get(_OTHERS, {}), **main}.items()))


def with_metrics(front: dict[str, Any], metrics: Mapping[str, float]) -> None:
    """Put `metrics` into a front matter: finite ones of the headline in the Hub's form, the others under `talkies`."""
    gated = [gate["metric"] for gate in front["talkies"]["gates"]]
    names = [name for name in headline(metrics, gated) if math.isfinite(metrics[name])]
    _entries(front)[:] = [{"type": name, "value": float(metrics[name])} for name in names]
    others = {name: _rounded(value) for name, value in sorted(metrics.items()) if name not in names}
    front["talkies"][_OTHERS] = others


def written(front: Front) -> dict[str, Any]:
    """A front matter as it is written to its file."""
    return {**front, "talkies": {key: value for key, value in front["talkies"].items() if key != _OTHERS}}


def every_metric(front: Front) -> str:
    """The folded table of all metrics."""
    rows = [[escaped(name), f"{_rounded(value)!r}"] for name, value in metrics_of(front).items()]
    return folded(f"{TITLE} ({len(rows)})", table(["metric", "value"], rows) if rows else "Nothing was measured.")


def metrics_in(body: str) -> dict[str, float]:
    """The metrics in the table of `every_metric` in the body of a card; empty if the table is missing. ValueError for a
    row without a number."""
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
