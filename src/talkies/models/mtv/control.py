"""Multi-stream temporal control: tracks to tokens of intervals, and what every layer takes of them (MTV, section 3.2).

The released code modulates every sample by the noise level of the first one; here each has its own.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from talkies.models.mtv.config import ENCODED, ControlShape
from talkies.models.mtv.encoder import TrackEncoder
from talkies.models.mtv.injection import Injection
from talkies.models.mtv.interaction import Interaction
from talkies.models.mtv.tracks import frame_count, windows
from talkies.streams import Grid
from talkies.streams.batch import Stream


class Speakers(nn.Module):
    """A learned vector for each of two speakers, 0 at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(2, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Back to 0."""
        nn.init.zeros_(self.vectors)

    def forward(self, tokens: Tensor, speaker: int) -> Tensor:
        """[B, M, K, width] of a speaker's track -> the same."""
        return tokens + self.vectors[speaker]


class Control(nn.Module):
    """Encoders, interactions, and an injection for every layer of a backbone of `layers` layers, `dim` wide."""

    def __init__(self, shape: ControlShape, *, dim: int, heads: int, layers: int, time_dim: int) -> None:
        super().__init__()
        self.shape = shape
        self.encoders = nn.ModuleDict({name: TrackEncoder(shape) for name in ("speech", "effects", "music")})
        self.speakers = Speakers(shape.width) if shape.speakers == 2 else None
        self.interactions = nn.ModuleList(Interaction(shape, time_dim) for _ in range(shape.interactions))
        self.injections = nn.ModuleList(Injection(dim, heads, shape, layers) for _ in range(layers))

    def forward(self, tracks: Mapping[str, Stream], video: Grid, time: Tensor) -> dict[str, Tensor]:
        """The tokens [B, M, K, width] fp32 of every track of the shape, those that are not given as if they were 0, for
        a video of this Grid at the embedded noise levels [B, time_dim], with SiLU applied."""
        tokens = {name: self._encoded(name, tracks.get(name), video, time) for name in self.shape.tracks}
        if self.speakers is not None:
            for speaker, name in enumerate(self.shape.speech):
                tokens[name] = self.speakers(tokens[name], speaker)
        kinds = {name: ENCODED[name] for name in self.shape.tracks if name != "music"}
        spoken = {name: tokens[name] for name in kinds}
        for interaction in self.interactions:
            spoken = interaction(spoken, kinds, time)
        return {**spoken, "music": tokens["music"]}

    def _encoded(self, name: str, track: Stream | None, video: Grid, time: Tensor) -> Tensor:
        shape = self.shape
        if track is None:
            frames = frame_count(video, shape.stride)
            given = time.new_zeros(time.shape[0], frames, (2 * shape.reach + 1) * shape.features)
        else:
            given = windows(track, video, stride=shape.stride, reach=shape.reach)
        out: Tensor = self.encoders[ENCODED[name]](given)
        return out

    def units(self) -> Iterator[nn.Module]:
        """The parts that are sharded, recomputed and compiled as one."""
        yield from self.encoders.values()
        yield from self.interactions
        yield from self.injections
