"""A model that makes frames as bright as its sound is loud, with codecs that only rearrange values."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import torch
from lossless import CODECS, TEXT, HopAudio, PixelVideo
from torch import Tensor

from talkies.flow.config import FlowConfig
from talkies.generate.model import Generator
from talkies.models.mova.config import JointConfig, MovaConfig
from talkies.models.mova.system import MOVA
from talkies.streams import Grid
from talkies.streams.batch import Condition, Denoiser, Stream
from talkies.streams.codec import Codecs

FPS, RATE, FRAMES, SIDE = 12.5, 16000, 9, 16
VIDEO, AUDIO = PixelVideo(stride=2, block=4), HopAudio(sample_rate=RATE, hop=640)
PER_FRAME = int(RATE / FPS)


def samples(frames: int) -> int:
    """Of sound that lasts as long as `frames`."""
    return frames * PER_FRAME


def setup() -> SimpleNamespace:
    """What MOVA sees of a joint recipe."""
    codecs = {"video": VIDEO.config, "audio": AUDIO.config, "text": TEXT.config}
    return SimpleNamespace(
        system=MOVA, model=MovaConfig(preset="toy"), phase=JointConfig(), codecs=codecs, flow=FlowConfig()
    )


def grids(frames: int = FRAMES) -> dict[str, Grid]:
    """Of clips of so many frames."""
    picture = VIDEO.grid(frames, SIDE, SIDE, FPS)
    return {"video": picture, "audio": AUDIO.grid(samples(frames)), "image": picture}


def codecs() -> Codecs:
    """Those above."""
    return replace(CODECS, video={"video": VIDEO}, audio={"audio": AUDIO})


def listener(denoiser: Denoiser, frames: int = FRAMES) -> Generator:
    """`denoiser` as a model of clips of so many frames."""
    return Generator(
        denoiser=denoiser, codecs=codecs(), system=MOVA, setup=setup(), grids=grids(frames), fps=float(Fraction(FPS))
    )


class Lit(torch.nn.Module):
    """The exact field to frames of one brightness each: the peak of the sound in that frame, times 2, minus 1. `seen`
    lists the streams of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Stream]] = []

    def forward(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        """The velocity of the video."""
        self.seen.append(dict(streams))
        video = streams["video"]
        frames = (video.grid.shape[0] - 1) * VIDEO.config.stride + 1
        sound = AUDIO.decode(streams["audio"].latent)[:, : samples(frames)].unflatten(1, (-1, PER_FRAME))
        bright = (sound.abs().amax(2) * 2 - 1).clamp(-1, 1)
        wanted = VIDEO.encode(bright[:, :, None, None, None].expand(-1, -1, 3, SIDE, SIDE))
        level = video.time.view(-1, 1, 1, 1, 1)
        return {"video": (video.latent - wanted) / level, "audio": torch.zeros_like(streams["audio"].latent)}
