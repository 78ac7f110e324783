"""Recipe keys and presets of the networks. `a14b` has the sizes of the released MOVA (its config.json files)."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from talkies.config import RecipeError, config
from talkies.config.numbers import NonNegative, Share
from talkies.config.schema import added
from talkies.models.wan.config import TowerConfig

EXPERTS = ("video_high", "video_low")
COMPONENTS = (*EXPERTS, "audio", "bridge")


@config
class BridgeConfig:
    """The two-way Bridge: one conditioner per direction and layer, aligned RoPE (MOVA, section 2.2) at `rate`
    positions per second (the audio tower's latent rate)."""

    layers: int
    rate: float
    eps: float = 1e-6


@config
class MovaShape:
    """Everything that determines MOVA's parameters. `boundary`: video noise level below which the low-noise expert is
    used."""

    video: TowerConfig
    audio: TowerConfig
    bridge: BridgeConfig
    boundary: float = 0.9


@config
class MovaConfig:
    """The sizes of a `preset`, or `sizes` of its own. `bridge: false` builds the two towers without the Bridge: the
    control of the synchronisation experiment."""

    kind: Literal["mova"] = "mova"
    preset: Literal["a14b", "toy"] | None = None
    bridge: bool = True
    sizes: MovaShape | None = added(default=None)

    @property
    def shape(self) -> MovaShape:
        """The numbers. RecipeError unless exactly one of `preset` and `sizes` gives them."""
        if (self.preset is None) == (self.sizes is None):
            found = "neither" if self.sizes is None else "both"
            raise RecipeError(
                f"recipe: `model` needs `preset` ({', '.join(PRESETS)}) or `sizes`, but {found} of them is set: set one"
            )
        return PRESETS[self.preset] if self.preset is not None else self.sizes  # type: ignore[return-value]


PRESETS: dict[str, MovaShape] = {
    "a14b": MovaShape(
        video=TowerConfig(
            dim=5120,
            ffn_dim=13824,
            heads=40,
            layers=40,
            patch=(1, 2, 2),
            in_channels=36,
            out_channels=16,
            text_dim=4096,
        ),
        audio=TowerConfig(
            dim=1536, ffn_dim=8960, heads=12, layers=30, patch=(1,), in_channels=128, out_channels=128, text_dim=4096
        ),
        bridge=BridgeConfig(layers=30, rate=50.0),
    ),
    "toy": MovaShape(
        video=TowerConfig(
            dim=96,
            ffn_dim=256,
            heads=2,
            layers=3,
            patch=(1, 2, 2),
            in_channels=26,
            out_channels=12,
            text_dim=64,
            freq_dim=64,
        ),
        audio=TowerConfig(
            dim=96, ffn_dim=192, heads=2, layers=2, patch=(1,), in_channels=8, out_channels=8, text_dim=64, freq_dim=64
        ),
        bridge=BridgeConfig(layers=2, rate=12.5),
    ),
}


@config
class VideoPretrainingConfig:
    """Image-to-video pretraining of both video experts; nothing else is built."""

    kind: Literal["video_pretraining"] = "video_pretraining"
    text_dropout: Share = 0.1


@config
class AudioPretrainingConfig:
    """Text-to-audio pretraining of the audio tower."""

    kind: Literal["audio_pretraining"] = "audio_pretraining"
    text_dropout: Share = 0.1


@config
class JointConfig:
    """Joint training of both video experts, the audio tower and the Bridge (MOVA, section 4.4). `tasks`: the shares of
    samples of which nothing, the sound or the video is given (none: nothing ever is)."""

    kind: Literal["joint"] = "joint"
    text_dropout: Share = 0.2
    video_loss_weight: NonNegative = 1.0
    audio_loss_weight: NonNegative = 0.2
    tasks: dict[Literal["joint", "sound_to_video", "video_to_sound"], Share] = field(default_factory=dict)


MovaPhase = Annotated[VideoPretrainingConfig | AudioPretrainingConfig | JointConfig, Field(discriminator="kind")]
