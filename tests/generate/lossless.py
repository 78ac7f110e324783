"""Codecs that only rearrange values, so that a decoded clip is exactly what was sampled; and denoisers for tests."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import torch
from torch import Tensor

from talkies.codecs.byte_text import ByteTextEncoder
from talkies.codecs.config import ByteTextConfig, LinearAudioConfig, LinearVideoConfig
from talkies.codecs.geometry import audio_grid, video_grid
from talkies.generate.model import Generator
from talkies.models.mova.config import AudioPretrainingConfig, JointConfig, MovaConfig, VideoPretrainingConfig
from talkies.models.mova.system import MOVA
from talkies.streams import Grid
from talkies.streams.batch import Condition, Denoiser, Stream
from talkies.streams.codec import Codecs


class PixelVideo:
    """A causal video codec: `stride` x `block` x `block` pixels become channels; step 0 repeats the first frame."""

    identity = "pixels"

    def __init__(self, stride: int, block: int) -> None:
        self.config = LinearVideoConfig(channels=3 * stride * block**2, stride=stride, block=block)

    def grid(self, frames: int, height: int, width: int, fps: float) -> Grid:
        return video_grid(self.config, frames=frames, height=height, width=width, fps=fps)

    @property
    def still_frames(self) -> int:
        return 1 + self.config.stride

    def encode(self, frames: Tensor) -> Tensor:
        s, k = self.config.stride, self.config.block
        x = torch.cat([frames[:, :1].expand(-1, s - 1, -1, -1, -1), frames], dim=1)
        x = x.unflatten(1, (-1, s)).unflatten(5, (-1, k)).unflatten(4, (-1, k))  # B T s 3 h k w k
        return x.permute(0, 2, 3, 5, 7, 1, 4, 6).flatten(1, 4)

    def decode(self, latent: Tensor) -> Tensor:
        s, k = self.config.stride, self.config.block
        x = latent.unflatten(1, (s, 3, k, k)).permute(0, 5, 1, 2, 6, 3, 7, 4)
        return x.flatten(6, 7).flatten(4, 5).flatten(1, 2)[:, s - 1 :]


class HopAudio:
    """An audio codec: one hop of samples becomes the channels of one step."""

    identity = "hops"

    def __init__(self, sample_rate: int, hop: int) -> None:
        self.config = LinearAudioConfig(channels=hop, sample_rate=sample_rate, hop=hop)

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    def grid(self, samples: int) -> Grid:
        return audio_grid(self.config, samples=samples)

    def encode(self, samples: Tensor) -> Tensor:
        hop = self.config.hop
        padded = torch.nn.functional.pad(samples, (0, -samples.shape[1] % hop))
        return padded.unflatten(1, (-1, hop)).transpose(1, 2)

    def decode(self, latent: Tensor) -> Tensor:
        return latent.transpose(1, 2).flatten(1)


FPS, FRAMES, HEIGHT, WIDTH, SAMPLES = 12.0, 5, 8, 12, 416  # 1000 Hz * 5 / 12 s = 416.7, of 11 hops = 440
MASK_CHANNELS = 2
VIDEO, AUDIO = PixelVideo(stride=2, block=4), HopAudio(sample_rate=1000, hop=40)
TEXT = ByteTextEncoder(ByteTextConfig(dim=8, length=4))
CODECS = Codecs(video={"video": VIDEO}, audio={"audio": AUDIO}, text={"text": TEXT})
GRIDS: dict[str, Grid] = {
    "video": VIDEO.grid(FRAMES, HEIGHT, WIDTH, FPS),
    "audio": AUDIO.grid(SAMPLES),
    "image": VIDEO.grid(FRAMES, HEIGHT, WIDTH, FPS),
}
PHASES = {"joint": JointConfig(), "video": VideoPretrainingConfig(), "audio": AudioPretrainingConfig()}


def generator(denoiser: Denoiser, phase: str = "joint", **changes: object) -> Generator:
    """`denoiser` as MOVA's of a phase, with the streams and codecs of that phase."""
    parts = {"video": {"video": VIDEO.config}, "audio": {"audio": AUDIO.config}}
    sections = {name: codec for part in (parts if phase == "joint" else [phase]) for name, codec in parts[part].items()}
    setup = SimpleNamespace(
        model=MovaConfig(preset="toy"), phase=PHASES[phase], codecs={**sections, "text": TEXT.config}
    )
    codecs = replace(CODECS, **{part: {} for part in parts if part not in sections})
    grids = {name: GRIDS[name] for name in MOVA.parts(setup).streams}
    model = Generator(denoiser=denoiser, codecs=codecs, system=MOVA, setup=setup, grids=grids, fps=FPS)
    return replace(model, **changes)


class Recorder(ABC):
    """A denoiser that records its inputs."""

    def __init__(self) -> None:
        self.calls: list[tuple[Mapping[str, Stream], Condition]] = []

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        self.calls.append((streams, condition))
        return {m: self.velocity(m, stream, condition) for m, stream in streams.items()}

    @abstractmethod
    def velocity(self, name: str, stream: Stream, condition: Condition) -> Tensor:
        """The velocity that it returns."""


class Still(Recorder):
    """Zero velocity: the clip is the decoded initial noise."""

    def velocity(self, name: str, stream: Stream, condition: Condition) -> Tensor:
        del name, condition
        return torch.zeros_like(stream.latent)


class Obedient(Recorder):
    """The exact field towards one point: the video is the given image, the sound is the caption's level.

    The level is 1 / 4 of the mean of the caption's features plus, if the streams are coupled, 1 / 8.
    """

    def velocity(self, name: str, stream: Stream, condition: Condition) -> Tensor:
        level = level_of(condition)[:, None, None].expand_as(stream.latent) if name == "audio" else None
        target = level if stream.condition is None else stream.condition[:, MASK_CHANNELS:]
        assert target is not None
        return (stream.latent - target) / stream.time.view(-1, *[1] * (stream.latent.ndim - 1))


def level_of(condition: Condition) -> Tensor:
    return condition.texts["text"].embedding.mean(dim=(1, 2)) / 4 + 0.125 * ("bridge" not in condition.without)
