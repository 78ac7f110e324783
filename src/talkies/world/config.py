"""Recipe keys of the synthetic world."""

from typing import Literal

from talkies.config import config
from talkies.config.numbers import Clips, Fps, Frames, Natural, Side


@config
class SyntheticSource:
    """Synthetic clips of talking faces, rendered as H.264 + AAC mp4 files with captions of the same stem. `domain`:
    'faces', or 'masks' as a second one. `size`: side in pixels; `heldout` clips are split off by id."""

    kind: Literal["synthetic"] = "synthetic"
    domain: Literal["faces", "masks"] = "faces"
    clips: Clips
    heldout: Natural = 0
    size: Side = 32
    frames: Frames = 25
    fps: Fps = 12.5
    seed: Natural = 0
