"""A model with all that it needs to make clips."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from talkies.codecs.geometry import samples_of
from talkies.codecs.long_sound import steps_needed
from talkies.codecs.speech_config import SpeechConfig
from talkies.flow.config import TargetConfig, VelocityTarget
from talkies.generate.geometry import clip_shape, sample_count
from talkies.generate.text_memory import TextMemory
from talkies.streams import Grid
from talkies.streams.batch import Denoiser
from talkies.streams.codec import Codecs
from talkies.streams.system import Setup, System


@dataclass(frozen=True, kw_only=True)
class Generator:
    """A model that makes clips: its `denoiser` on `device`, its codecs, its system and the recipe that it was trained
    with, and the `grids` of all streams that it reads and makes, for clips at `fps` frames per second. `target`: what
    the denoiser predicts; `texts`: what it has encoded so far."""

    denoiser: Denoiser
    codecs: Codecs
    system: System
    setup: Setup
    grids: Mapping[str, Grid]
    fps: float
    target: TargetConfig = field(default_factory=VelocityTarget)
    device: torch.device | str = "cpu"
    texts: TextMemory = field(default_factory=TextMemory)

    @property
    def targets(self) -> tuple[str, ...]:
        """The streams that it makes."""
        return tuple(self.system.parts(self.setup).targets)

    @property
    def text_codecs(self) -> dict[str, str]:
        """The texts that it reads -> their codecs."""
        read = self.system.parts(self.setup).texts
        return {name: codec for name, codec in self.system.texts(self.setup.codecs).items() if name in read}

    def codec_of(self, stream: str) -> str:
        """The codec of a stream."""
        return self.system.stored(self.setup.codecs)[stream].codec

    def stream_of(self, medium: str) -> str | None:
        """The stream of "video" or "audio" that it makes; None if it makes none."""
        codecs = self.codecs.video if medium == "video" else self.codecs.audio
        return next((name for name in self.targets if self.codec_of(name) in codecs), None)

    @property
    def listens(self) -> str | None:
        """The stream of a whole sound for which it makes a video: a condition, or what it would make itself; None if it
        cannot be given one."""
        if self.stream_of("video") is None:
            return None
        conditions = (name for name in self.grids if name not in self.targets and name not in self.tracks)
        return next((name for name in conditions if self.codec_of(name) in self.codecs.audio), self.stream_of("audio"))

    @property
    def tracks(self) -> dict[str, str]:
        """The streams that it is given of parts of a sound -> the track of each."""
        stored = self.system.stored(self.setup.codecs)
        parted = {name: stored[name].track for name in self.grids if name not in self.targets}
        return {name: track for name, track in parted.items() if track is not None}

    @property
    def hearing(self) -> tuple[str, ...]:
        """The streams of the sound for which it makes a video: its tracks, or that to which it listens."""
        return (*self.tracks,) or tuple(name for name in (self.listens,) if name is not None)

    @property
    def known(self) -> frozenset[str]:
        """The streams that it makes of which it was shown clean latent steps."""
        return frozenset(self.system.parts(self.setup).known)

    @property
    def pictured(self) -> str | None:
        """The stream whose first latent step an image becomes; None if the image is a stream of its own."""
        name, stored = self.stream_of("video"), self.system.stored(self.setup.codecs)
        apart = any(stored[other].of in ("first frame", "reference") for other in self.grids)
        return name if name in self.known and not apart else None

    @property
    def first_frame(self) -> bool:
        """Whether its clips begin with an image that is given."""
        stored = self.system.stored(self.setup.codecs)
        return any(stored[name].of == "first frame" for name in self.grids)

    @property
    def heard(self) -> str | None:
        """The stream of the sound of a clip: one that it makes, or one beside it; None without sound."""
        beside = sorted(self.system.parts(self.setup).beside)
        return self.stream_of("audio") or next((s for s in beside if self.codec_of(s) in self.codecs.audio), None)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(frames, height, width) of the clips; None without a video stream."""
        name = self.stream_of("video")
        return None if name is None else clip_shape(self.codecs.video[self.codec_of(name)], self.grids[name], self.fps)

    @property
    def samples(self) -> int | None:
        """Samples of sound: as long as the frames, or without frames as the Grid; None without a sound stream."""
        name = self.stream_of("audio")
        return None if name is None else self.samples_of(name)

    def lasting(self, seconds: float | None) -> "Generator":
        """The same for sounds of `seconds`, in whole latent steps, at most its own (None: these). ValueError if it
        makes pictures, too."""
        if seconds is None:
            return self
        if self.shape is not None:
            raise ValueError("a model that makes pictures makes clips of one length")
        found = {}
        for name in self.targets:
            codec, longest = self.codecs.audio[self.codec_of(name)], self.grids[name]
            grid = codec.grid(round(seconds * codec.sample_rate))
            found[name] = grid if grid.shape < longest.shape else longest
        return replace(self, grids={**self.grids, **found})

    def samples_of(self, name: str) -> int:
        """Samples of sound of a clip's stream `name`: as long as the frames, or without frames as its Grid."""
        codec, grid = self.codecs.audio[self.codec_of(name)], self.grids[name]
        if self.shape is None:
            return int(grid.shape[0] * codec.sample_rate / grid.rate)
        return sample_count(codec, grid, self.shape[0], self.fps)

    def hears(self, name: str) -> int:
        """Samples of a long sound, from its beginning, that decide the latents of its first clip's stream `name`."""
        config = self.setup.codecs[self.codec_of(name)]
        if not isinstance(config, SpeechConfig):
            return self.samples_of(name)
        return samples_of(config, steps_needed(config, range(self.grids[name].shape[0])))
