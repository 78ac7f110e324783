"""Recipe keys of MTV's phases. The five stages of its curriculum differ in their data; their keys are the same."""

from typing import Annotated, Literal

from pydantic import Field

from talkies.config import config
from talkies.config.numbers import Share
from talkies.flow.known_config import KnownFrames

Track = Literal["speech", "speech2", "effects", "music"]


@config
class VideoPretrainingConfig:
    """Video from text: the backbone's own task. The control is not built. `known_frames`: the shares of samples of
    which latent steps are known."""

    kind: Literal["video_pretraining"] = "video_pretraining"
    text_dropout: Share = 0.1
    known_frames: KnownFrames = KnownFrames()


@config
class SteeringConfig:
    """Video from text and the `tracks` that the clips have; the others count as features of 0. `trains`: besides the
    control nothing, the backbone's attention (as the paper does), or all of it. `tracks_dropout` drops all tracks of a
    sample together. `known_frames` as in pretraining."""

    kind: Literal["steering"] = "steering"
    trains: Literal["control", "control_and_attention", "all"] = "control_and_attention"
    tracks: tuple[Track, ...] = ("speech", "effects", "music")
    text_dropout: Share = 0.1
    tracks_dropout: Share = 0.05
    known_frames: KnownFrames = KnownFrames()


MtvPhase = Annotated[VideoPretrainingConfig | SteeringConfig, Field(discriminator="kind")]
