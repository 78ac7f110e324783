"""Joint phases of MOVA as planning sees them."""

from fractions import Fraction
from functools import cache
from types import SimpleNamespace
from typing import Any

from talkies.models.mova.config import COMPONENTS, AudioPretrainingConfig, JointConfig, VideoPretrainingConfig
from talkies.models.mova.config import MovaConfig as Model
from talkies.models.mova.system import MOVA
from talkies.planning.parameters import skeleton
from talkies.planning.profile import Profiler
from talkies.streams import Grid
from talkies.training.config import AllConfig, TrainConfig

ALL = frozenset(COMPONENTS)
CHANNELS = {"a14b": (16, 128, 4), "toy": (12, 8, 2)}
"""preset -> channels of video and audio, pixel frames per latent frame."""
GRIDS = {"360p": ((49, 44, 80), (403,)), "720p": ((49, 90, 160), (403,)), "toy": ((13, 4, 4), (53,))}
TOKENS = {
    "360p": {"video": 43_120, "audio": 403},
    "720p": {"video": 176_400, "audio": 403},
    "toy": {"video": 52, "audio": 53},
}
TEXTS = {"a14b": 512, "toy": 24}
PHASES: dict[str, Any] = {
    "joint": JointConfig(),
    "audio_pretraining": AudioPretrainingConfig(),
    "video_pretraining": VideoPretrainingConfig(),
}


def setup(preset: Any, *, phase: str = "joint", bridge: bool = True) -> Any:
    """A phase's sections."""
    model, stride = Model(preset=preset, bridge=bridge), CHANNELS[preset][2]
    text = SimpleNamespace(dim=model.shape.video.text_dim, length=TEXTS[preset])
    codecs = {"video": SimpleNamespace(stride=stride), "audio": None, "text": text}
    return SimpleNamespace(model=model, phase=PHASES[phase], codecs=codecs)


def grids_of(preset: str, video: tuple[int, ...], audio: tuple[int, ...]) -> dict[str, Grid]:
    """Of picture, first frame and sound."""
    pictures, sounds, _ = CHANNELS[preset]
    picture = Grid(channels=pictures, shape=video, rate=Fraction(6))
    return {"video": picture, "image": picture, "audio": Grid(channels=sounds, shape=audio, rate=Fraction(50))}


@cache
def profiler(
    geometry: str,
    *,
    phase: str = "joint",
    bridge: bool = True,
    train: TrainConfig = AllConfig(),  # noqa: B008
) -> Profiler:
    """Of MOVA at this geometry; toy is that of the preset, the others are at full scale."""
    preset = "toy" if geometry == "toy" else "a14b"
    found = setup(preset, phase=phase, bridge=bridge)
    parts = MOVA.parts(found)
    grids = {name: grid for name, grid in grids_of(preset, *GRIDS[geometry]).items() if name in parts.streams}
    return Profiler(MOVA, found, skeleton(MOVA, found, parts.components), grids=grids, train=train)
