"""Recipe keys and presets of the networks. `10b` has the sizes of Mochi-1, from which Mirage video begins."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from talkies.config import config
from talkies.config.numbers import Width
from talkies.models.mochi.config import JointShape, ModalityShape

COMPONENTS = ("video", "text", "sound")
"""The modalities that have parameters of their own."""

Logit = Annotated[float, Field(ge=-1000, le=1000)]


@config
class MirageConfig:
    """`sound_width` of the sound's tokens and `sound_features` of its encoder: None takes the preset's.

    What the paper leaves open: `sound_bias`, the initial value of learned additions to the logits of the sound's keys
    (None: there are none); `sound_positions`, whether the sound's rotary table is independent, or a learned difference
    from the video's table of time, so that attention between them begins relative in time; `text_positions`, whether
    the text has a rotary table (Mochi's has none); `text_time`, the streams whose modulation sees the pooled text
    besides the time; `reference_time`, whether the reference is modulated by its own noise level, 0, or the video's;
    `video_time`, whether the video's positions are the indices of latent steps, or the seconds at which they begin
    times the latent steps per second (which differ for a codec that encodes in chunks).
    """

    kind: Literal["mirage"] = "mirage"
    preset: Literal["10b", "toy"]
    sound_width: Width | None = None
    sound_features: Width | None = None
    sound_bias: Logit | None = None
    sound_positions: Literal["own", "relative"] = "own"
    text_positions: Literal["none", "learned"] = "none"
    text_time: Literal["video_and_text", "all"] = "video_and_text"
    reference_time: Literal["clean", "shared"] = "clean"
    video_time: Literal["index", "seconds"] = "index"

    @property
    def shape(self) -> JointShape:
        """The preset's numbers, with the keys above."""
        preset = PRESETS[self.preset]
        sound = preset.modalities["sound"]
        own = ModalityShape(width=self.sound_width or sound.width, channels=self.sound_features or sound.channels)
        return replace(
            preset,
            modalities={**preset.modalities, "sound": own},
            given_bias=self.sound_bias,
            given_positions=self.sound_positions,
            given_pooled=self.text_time == "all",
            text_positions=self.text_positions,
            reference_time=self.reference_time,
            target_time=self.video_time,
        )


PRESETS: dict[str, JointShape] = {
    "10b": JointShape(
        layers=48,
        heads=24,
        head_dim=128,
        target="video",
        patch=(1, 2, 2),
        modalities={
            "video": ModalityShape(width=3072, channels=12),
            "text": ModalityShape(width=1536, channels=4096),
            "sound": ModalityShape(width=1536, channels=1024),
        },
    ),
    "toy": JointShape(
        layers=4,
        heads=3,
        head_dim=32,
        target="video",
        patch=(1, 2, 2),
        modalities={
            "video": ModalityShape(width=96, channels=12),
            "text": ModalityShape(width=48, channels=64),
            "sound": ModalityShape(width=48, channels=32),
        },
        multiple=32,
        freq_dim=64,
        pool_heads=4,
    ),
}
