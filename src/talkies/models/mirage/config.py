"""Recipe keys and presets of the networks. `10b` has the sizes of Mochi-1, from which Mirage video begins."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from talkies.config import config
from talkies.config.canonical import identifying
from talkies.config.numbers import Width

COMPONENTS = ("video", "text", "sound")
"""The modalities that have parameters of their own."""

Logit = Annotated[float, Field(ge=-1000, le=1000)]


@config
class ModalityShape:
    """The `width` of a modality's tokens, and the `channels` of what they are made of."""

    width: int
    channels: int


@config
class MirageShape:
    """Everything that determines the network.

    `heads` of `head_dim` are shared by all modalities, whose widths differ; `multiple`: a SwiGLU is 8/3 as wide as its
    tokens, rounded up to one; `freq_dim` of the time's sinusoid, `pool_heads` of the pooled text. The rest is what
    `MirageConfig` says.
    """

    layers: int
    heads: int
    head_dim: int
    patch: tuple[int, int, int]
    video: ModalityShape
    text: ModalityShape
    sound: ModalityShape
    multiple: int = 256
    freq_dim: int = 256
    pool_heads: int = 8
    eps: float = 1e-6
    sound_bias: float | None = None
    sound_positions: Literal["own", "relative"] = "own"
    text_positions: Literal["none", "learned"] = "none"
    text_time: Literal["video_and_text", "all"] = "video_and_text"
    reference_time: Literal["clean", "shared"] = "clean"
    video_time: Literal["index", "seconds"] = "index"

    @property
    def inner(self) -> int:
        """Width of all heads together."""
        return self.heads * self.head_dim

    def modality(self, name: str) -> ModalityShape:
        """That of `video`, `text` or `sound`."""
        found: ModalityShape = getattr(self, name)
        return found

    def hidden(self, width: int) -> int:
        """Width of the SwiGLU of tokens this wide."""
        return self.multiple * -(-8 * width // (3 * self.multiple))

    def sizes(self, component: str) -> dict[str, Any]:
        """What determines the parameters of `component`, as plain values."""
        shared = ("layers", "heads", "head_dim", "multiple")
        own = {"video": ("patch", "freq_dim"), "text": ("pool_heads", "text_positions"), "sound": ()}[component]
        found = {key: getattr(self, key) for key in (*shared, *own)}
        found |= identifying(self.modality(component))
        if component != "video":
            found["modulated_by"] = self.video.width
        if component == "sound":
            found["bias"] = self.sound_bias is not None
        return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


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
    def shape(self) -> MirageShape:
        """The preset's numbers, with the keys above."""
        preset = PRESETS[self.preset]
        sound = ModalityShape(
            width=self.sound_width or preset.sound.width, channels=self.sound_features or preset.sound.channels
        )
        return replace(
            preset,
            sound=sound,
            sound_bias=self.sound_bias,
            sound_positions=self.sound_positions,
            text_positions=self.text_positions,
            text_time=self.text_time,
            reference_time=self.reference_time,
            video_time=self.video_time,
        )


PRESETS: dict[str, MirageShape] = {
    "10b": MirageShape(
        layers=48,
        heads=24,
        head_dim=128,
        patch=(1, 2, 2),
        video=ModalityShape(width=3072, channels=12),
        text=ModalityShape(width=1536, channels=4096),
        sound=ModalityShape(width=1536, channels=1024),
    ),
    "toy": MirageShape(
        layers=4,
        heads=3,
        head_dim=32,
        patch=(1, 2, 2),
        video=ModalityShape(width=96, channels=12),
        text=ModalityShape(width=48, channels=64),
        sound=ModalityShape(width=48, channels=32),
        multiple=32,
        freq_dim=64,
        pool_heads=4,
    ),
}
