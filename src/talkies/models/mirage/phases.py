"""Recipe keys of Mirage's phases. The paper names warm-up and stitching, and says no more: what trains, and how often a
condition is dropped, are our choice."""

from typing import Annotated, Literal

from pydantic import Field

from talkies.config import config
from talkies.config.numbers import Share


@config
class VideoPretrainingConfig:
    """Silent video from text: Mochi's own task. The sound stream is not built."""

    kind: Literal["video_pretraining"] = "video_pretraining"
    text_dropout: Share = 0.1


@config
class WarmUpConfig:
    """The sound stream alone trains; the parent's other streams are frozen. `all_dropout` drops text and sound
    together."""

    kind: Literal["warm_up"] = "warm_up"
    text_dropout: Share = 0.1
    sound_dropout: Share = 0.1
    all_dropout: Share = 0.05


@config
class StitchConfig:
    """All streams train. Dropout as in warm-up."""

    kind: Literal["stitch"] = "stitch"
    text_dropout: Share = 0.1
    sound_dropout: Share = 0.1
    all_dropout: Share = 0.05


@config
class ReferenceConfig:
    """All streams train, with a reference image of the same person (Mirage video, section 3.6). `all_dropout` drops
    text, sound and reference together."""

    kind: Literal["reference"] = "reference"
    text_dropout: Share = 0.1
    sound_dropout: Share = 0.1
    reference_dropout: Share = 0.1
    all_dropout: Share = 0.05


MiragePhase = Annotated[
    VideoPretrainingConfig | WarmUpConfig | StitchConfig | ReferenceConfig, Field(discriminator="kind")
]
