"""Recipe keys of the objective."""

from typing import Literal

from talkies.config import config
from talkies.config.numbers import Positive


@config
class StreamFlowConfig:
    """Sigma shift of one modality: sigma(u) = shift u / (1 + (shift - 1) u) (docs/mova.md: Objective)."""

    shift: Positive = 5.0


@config
class FlowConfig:
    """Rectified flow, t = 1 is noise, velocity = noise - data. `times`: whether the modalities share one u."""

    video: StreamFlowConfig = StreamFlowConfig()
    audio: StreamFlowConfig = StreamFlowConfig()
    times: Literal["independent", "shared"] = "independent"
