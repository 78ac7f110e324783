"""What the metrics of an evaluation mean to a reader, and which of them belong together (`report.py` computes them)."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A metric `key` in `words`, and in which direction it is `better`. `ceiling`: the metric that says how good real
    clips are through the codecs, or the value that identical clips have; `control`: the metric of the same clips by
    chance."""

    key: str
    words: str
    better: str
    ceiling: str | float | None = None
    control: str | None = None


MEASURES = (
    Measure(
        key="evaluation/sync",
        words="Synchronisation: correlation of mouth and loudness",
        better="higher",
        ceiling="evaluation/sync_reference",
        control="evaluation/sync_shuffled",
    ),
    Measure(key="evaluation/lag_ms", words="Lag of the sound, median, in ms", better="nearer to 0", ceiling=0.0),
    Measure(key="evaluation/frechet_video", words="Frechet distance, video", better="lower", ceiling=0.0),
    Measure(key="evaluation/frechet_audio", words="Frechet distance, audio", better="lower", ceiling=0.0),
    Measure(key="evaluation/heldout/video", words="Held-out loss, video", better="lower"),
    Measure(key="evaluation/heldout/audio", words="Held-out loss, audio", better="lower"),
)
"""The numbers that a card begins with, in this order."""
