"""Recipe keys and presets of MTV's networks (arXiv 2506.08003 and its released code)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from talkies.config import config
from talkies.config.canonical import identifying
from talkies.config.numbers import Frames
from talkies.models.cogvideox.config import PRESETS as COGVIDEOX
from talkies.models.cogvideox.config import CogVideoXConfig
from talkies.models.wan.config import TowerConfig

Reach = Annotated[int, Field(ge=0, le=64)]
Speakers = Literal[1, 2]
TrackWidth = Annotated[int, Field(ge=1, le=65_536)]
"""Features of a track: all layers of a speech encoder together."""

ENCODED = {"speech": "speech", "speech2": "speech", "effects": "effects", "music": "music"}
"""Track -> the encoder of its features."""
FREE = ("initial", "intervals")
"""Keys of a ControlShape on which no parameter depends: a child may have others than its parent."""


@config
class ControlShape:
    """The sizes of the control. A track's `features` are taken at every frame and `reach` frames around it, and become
    `tokens` of `width` for every interval, through layers `hidden` wide; `stride`: frames per latent step. Of the
    interactions: how many, their `heads`, the width of their `mlp`.

    `convolution` over time of all tokens of a frame (dense), or of each token alone; `initial`: what injections begin
    with; `injection`: speech and effects have attentions of their own, or one for both; `music`: pooled to a scale and
    a shift, or heard interval by interval; `intervals`: None, one per latent step; `speakers`: how many speech tracks
    there are.
    """

    features: int = 9216
    reach: int = 2
    hidden: int = 512
    tokens: int = 32
    width: int = 768
    stride: int = 4
    interactions: int = 4
    heads: int = 48
    mlp: int = 3072
    convolution: Literal["dense", "per_token"] = "dense"
    initial: Literal["zero", "scaled"] = "zero"
    injection: Literal["separate", "shared"] = "separate"
    music: Literal["pooled", "interval"] = "pooled"
    intervals: int | None = None
    speakers: Speakers = 1

    @property
    def widest(self) -> int:
        """Of its layers: the dense convolution's, or what a track's features become."""
        return self.tokens * self.width

    @property
    def speech(self) -> tuple[str, ...]:
        """The speech tracks."""
        return ("speech", "speech2")[: self.speakers]

    @property
    def tracks(self) -> tuple[str, ...]:
        """All tracks."""
        return *self.speech, "effects", "music"


@config
class MtvShape:
    """Everything that determines the network: the sizes of the `backbone` and of the control."""

    backbone: CogVideoXConfig | TowerConfig
    control: ControlShape

    @property
    def cogvideox(self) -> bool:
        """Whether the backbone is CogVideoX; else it is a tower of Wan."""
        return isinstance(self.backbone, CogVideoXConfig)

    @property
    def layers(self) -> int:
        """Of the backbone."""
        return self.backbone.layers

    @property
    def time_dim(self) -> int:
        """Width of the backbone's embedding of noise levels."""
        return self.backbone.time_dim if isinstance(self.backbone, CogVideoXConfig) else self.backbone.dim

    @property
    def components(self) -> tuple[str, ...]:
        """Those of the backbone."""
        return ("video", "attention") if self.cogvideox else ("video",)

    def sizes(self, component: str) -> dict[str, Any]:
        """What determines the parameters of `component`, as plain values."""
        if component != "control":
            backbone: dict[str, Any] = identifying(self.backbone)
            return backbone
        control = {name: value for name, value in identifying(self.control).items() if name not in FREE}
        steered = {"layers": self.layers, "dim": self.backbone.dim, "heads": self.backbone.heads}
        return {**control, "steered": {**steered, "time_dim": self.time_dim}}


@config
class MtvConfig:
    """The networks of a `preset`; of the other keys, None takes the preset's.

    `backbone`: the sizes of a CogVideoX that no preset has.
    `features` of a track's codec, at every frame and `reach` frames around it. `speakers`: the tracks of speech that
    there can be. `convolution` over time of all tokens of a frame (dense, as released), or of each token alone;
    `initial`: whether injections give 0 at first, or are drawn as in the released code; `injection`: whether speech and
    effects are injected by attentions of their own, or by one; `music`: pooled to a scale and a shift, or injected by
    an attention; `intervals`: how many a clip has (None: as many as latent steps).
    """

    kind: Literal["mtv"] = "mtv"
    preset: Literal["mtv-5b", "mtv-5b-i2v", "mtv-2b", "mtv-wan", "toy", "toy-wan"]
    features: TrackWidth | None = None
    reach: Reach | None = None
    speakers: Speakers = 1
    convolution: Literal["dense", "per_token"] | None = None
    initial: Literal["zero", "scaled"] = "zero"
    injection: Literal["separate", "shared"] = "separate"
    music: Literal["pooled", "interval"] = "pooled"
    intervals: Frames | None = None
    backbone: CogVideoXConfig | None = None

    @property
    def shape(self) -> MtvShape:
        """The preset's numbers, with the keys above."""
        preset = PRESETS[self.preset]
        own = preset.control
        control = replace(
            own,
            features=self.features or own.features,
            reach=own.reach if self.reach is None else self.reach,
            convolution=self.convolution or own.convolution,
            speakers=self.speakers,
            initial=self.initial,
            injection=self.injection,
            music=self.music,
            intervals=self.intervals,
        )
        return replace(preset, backbone=self.backbone or preset.backbone, control=control)


WAN = TowerConfig(
    dim=5120, ffn_dim=13824, heads=40, layers=40, patch=(1, 2, 2), in_channels=16, out_channels=16, text_dim=4096
)
"""Wan2.1's 14B network for text to video."""
TOY = ControlShape(stride=2, features=80, hidden=64, tokens=2, width=48, interactions=2, heads=3, mlp=96)

PRESETS: Mapping[str, MtvShape] = {
    "mtv-5b": MtvShape(backbone=COGVIDEOX["5b"], control=ControlShape()),
    "mtv-5b-i2v": MtvShape(backbone=COGVIDEOX["5b-i2v"], control=ControlShape()),
    "mtv-2b": MtvShape(backbone=COGVIDEOX["2b"], control=ControlShape()),
    "mtv-wan": MtvShape(backbone=WAN, control=ControlShape()),
    "toy": MtvShape(
        backbone=CogVideoXConfig(
            layers=4,
            heads=3,
            head_dim=32,
            in_channels=12,
            out_channels=12,
            text_dim=64,
            text_length=96,
            time_dim=64,
            sample_size=(4, 4),
            sample_frames=25,
            temporal_compression=2,
        ),
        control=TOY,
    ),
    "toy-wan": MtvShape(
        backbone=TowerConfig(
            dim=96,
            ffn_dim=256,
            heads=4,
            layers=4,
            patch=(1, 2, 2),
            in_channels=12,
            out_channels=12,
            text_dim=64,
            freq_dim=64,
        ),
        control=TOY,
    ),
}
"""`mtv-5b-i2v` has the sizes of the released MTV."""
