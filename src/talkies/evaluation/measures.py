"""What the metrics of an evaluation mean to a reader, and which of them belong together (`report.py` computes them)."""

from collections.abc import Mapping
from dataclasses import dataclass

SEEN = 0.3
"""What real clips must reach through the codecs for synchronisation to mean anything: not all show a mouth."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A metric `key` in `words`, and in which direction it is `better`. `ceiling`: the metric that says how good real
    clips are through the codecs, or the value that identical clips have; `control`: the metric of the same clips by
    chance. `only`: the metric of real clips that must reach SEEN, or this one means nothing."""

    key: str
    words: str
    better: str
    ceiling: str | float | None = None
    control: str | None = None
    only: str | None = None

    def speaks(self, metrics: Mapping[str, float]) -> bool:
        """Whether the metric is there and means something."""
        return self.key in metrics and (self.only is None or metrics.get(self.only, 1.0) >= SEEN)


MEASURES = (
    Measure(
        key="evaluation/sync",
        words="Synchronisation: correlation of mouth and loudness",
        better="higher",
        ceiling="evaluation/sync_reference",
        control="evaluation/sync_shuffled",
        only="evaluation/sync_reference",
    ),
    Measure(
        key="evaluation/lag_ms",
        words="Lag of the sound, median, in ms",
        better="nearer to 0",
        ceiling=0.0,
        only="evaluation/sync_reference",
    ),
    Measure(key="evaluation/frechet_video", words="Frechet distance, video", better="lower", ceiling=0.0),
    Measure(key="evaluation/frechet_audio", words="Frechet distance, audio", better="lower", ceiling=0.0),
    Measure(key="evaluation/heldout/video", words="Held-out loss, video", better="lower"),
    Measure(key="evaluation/heldout/audio", words="Held-out loss, audio", better="lower"),
)
"""The numbers that a card begins with, in this order."""
