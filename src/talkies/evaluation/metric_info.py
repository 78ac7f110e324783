"""How the metrics of an evaluation are presented, and which of them belong together (`report.py` computes them)."""

from collections.abc import Mapping
from dataclasses import dataclass

SEEN = 0.3
"""Minimum sync of real clips through the codecs for sync metrics to be meaningful: not all clips show a mouth, and not
all that moves sounds. What only the world's speakers show is not measured at all of other clips (given.py)."""


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """A metric `key`, described in `words`, and the direction in which it is `better`. `ceiling`: the metric of real
    clips through the codecs, or the value for identical clips; `control`: the metric at chance level; `only`: the
    metric of real clips that must reach SEEN for this one to be meaningful."""

    key: str
    words: str
    better: str
    ceiling: str | float | None = None
    control: str | None = None
    only: str | None = None

    def applies_to(self, metrics: Mapping[str, float]) -> bool:
        """Whether the metric was measured and is meaningful."""
        return self.key in metrics and (self.only is None or metrics.get(self.only, 1.0) >= SEEN)


def _shown(name: str, words: str) -> MetricInfo:
    """Of `speaker_metrics` and `voice_metrics`."""
    key = f"evaluation/{name}"
    return MetricInfo(key=key, words=words, better="higher", ceiling=f"{key}_reference", control=f"{key}_chance")


def _tuned(name: str, words: str) -> MetricInfo:
    """Of `tuning_shares`, for references that were degraded."""
    words, ceiling = f"Tuning a degraded reference: {words}, share of sounds", f"evaluation/{name}_reference"
    return MetricInfo(key=f"evaluation/degraded/{name}", words=words, better="higher", ceiling=ceiling)


METRICS = (
    MetricInfo(
        key="evaluation/sync",
        words="Synchronisation: correlation of mouth and loudness",
        better="higher",
        ceiling="evaluation/sync_reference",
        control="evaluation/sync_shuffled",
        only="evaluation/sync_reference",
    ),
    MetricInfo(
        key="evaluation/lag_ms",
        words="Lag of the sound, median, in ms",
        better="nearer to 0",
        ceiling=0.0,
        only="evaluation/sync_reference",
    ),
    MetricInfo(
        key="evaluation/sound/sync",
        words="Synchronisation with the sound that was given",
        better="higher",
        ceiling="evaluation/sync_reference",
        control="evaluation/sound/sync_original",
        only="evaluation/sync_reference",
    ),
    MetricInfo(
        key="evaluation/sound/sync_swapped",
        words="Synchronisation with the sound of another clip that was given",
        better="higher",
        ceiling="evaluation/sync_reference",
        control="evaluation/sound/sync_original",
        only="evaluation/sync_reference",
    ),
    MetricInfo(
        key="evaluation/sound/lag_frames",
        words="Lag of the sound that was given, median, in frames",
        better="nearer to 0",
        ceiling=0.0,
        only="evaluation/sync_reference",
    ),
    _shown("kind", "Kind of face that the voice calls for, share of clips"),
    _shown("background", "Background that the noise calls for, share of clips"),
    _shown("shirt", "Shirt that the caption names, share of clips"),
    _shown("identity", "Nearest to the own picture of the speaker, share of clips"),
    _shown("script", "Script, share that is recognised"),
    _shown("setting", "Setting that the description names, share of sounds"),
    _shown("pitch", "Pitch within 5 % of the given voice's, share of sounds"),
    MetricInfo(
        key="evaluation/reference/pitch_swapped",
        words="Pitch of the voice of another clip that was given, share of sounds",
        better="higher",
        ceiling="evaluation/pitch_reference",
        control="evaluation/reference/pitch_original",
    ),
    _shown("timbre", "Timbre nearest to the given voice's, share of sounds"),
    _tuned("setting", "setting that the description names"),
    _tuned("pitch", "pitch within 5 % of the given voice's"),
    MetricInfo(
        key="evaluation/motion_sync",
        words="Synchronisation: correlation of motion and change of loudness",
        better="higher",
        ceiling="evaluation/motion_sync_reference",
        control="evaluation/motion_sync_shuffled",
        only="evaluation/motion_sync_reference",
    ),
    MetricInfo(key="evaluation/frechet_video", words="Frechet distance, video", better="lower", ceiling=0.0),
    MetricInfo(key="evaluation/frechet_audio", words="Frechet distance, audio", better="lower", ceiling=0.0),
    MetricInfo(key="evaluation/heldout/video", words="Held-out loss, video", better="lower"),
    MetricInfo(key="evaluation/heldout/audio", words="Held-out loss, audio", better="lower"),
    MetricInfo(key="evaluation/heldout/sound", words="Held-out loss, sound", better="lower"),
)
"""The numbers that a card begins with, in this order."""
