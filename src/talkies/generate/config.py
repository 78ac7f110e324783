"""Recipe keys of sampling."""

from talkies.config import config


@config
class SamplingConfig:
    """Euler over the released scheduler's grid, one shift per modality; guidance scales of MOVA section 7 (1: off)."""

    steps: int = 50
    video_shift: float = 5.0
    audio_shift: float = 5.0
    text_scale: float = 1.0
    bridge_scale: float = 1.0
