"""Recipe keys of sampling."""

from talkies.config import config
from talkies.config.numbers import Draws, NonNegative, Positive


@config
class SamplingConfig:
    """Euler over the released scheduler's grid, one shift per modality; guidance scales (MOVA, section 5.1; 1: off)."""

    steps: Draws = 50
    video_shift: Positive = 5.0
    audio_shift: Positive = 5.0
    text_scale: NonNegative = 1.0
    bridge_scale: NonNegative = 1.0
