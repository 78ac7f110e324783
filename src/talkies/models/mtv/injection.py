"""How tracks steer the video tokens of a layer (MTV, section 3.2; released code)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.models.mtv.config import ControlShape
from talkies.nn.attention import Projection, attend
from talkies.nn.precision import LayerNorm32, Linear32
from talkies.nn.repeat import repeated
from talkies.nn.rope import Rope

EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the video tokens of this process lie: `interval` of every latent step, in order; `space`: tokens of a
    latent step; `first`: the first token that this process holds; `rope` of the tokens of a latent step (None: the
    backbone rotates none)."""

    interval: tuple[int, ...]
    space: int
    first: int
    rope: Rope | None


class OutputLinear(nn.Linear):
    """The last layer of a branch that is added to a backbone: 0 at first, or as in the released code N(0, 0.02^2 /
    (2 layers)), with a bias of 0."""

    def __init__(self, dim: int, out: int, *, initial: Literal["zero", "scaled"], layers: int) -> None:
        self.deviation = 0.0 if initial == "zero" else 0.02 / (2 * layers) ** 0.5
        super().__init__(dim, out)

    def reset_parameters(self) -> None:
        """Back to the initial values."""
        nn.init.normal_(self.weight, std=self.deviation)
        nn.init.zeros_(self.bias)


class ZeroLinear32(Linear32):
    """A Linear in fp32 that gives 0 at first."""

    def reset_parameters(self) -> None:
        """Back to 0."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class TrackAttention(nn.Module):
    """The video tokens of a latent step ask the tokens of its interval. Queries are rotated by their place within the
    frame, keys are not. Queries and keys have norms of their own, where the released code takes the backbone's."""

    def __init__(self, dim: int, heads: int, shape: ControlShape, layers: int) -> None:
        super().__init__()
        self.norm = LayerNorm32(dim)
        self.attention = Projection(dim, heads, memory_dim=shape.width, eps=EPS, per_head=True, norm=LayerNorm32)
        self.attention.o = OutputLinear(dim, dim, initial=shape.initial, layers=layers)

    def forward(self, x: Tensor, tokens: Tensor, rope: Rope | None) -> Tensor:
        """x [N, S, dim] of N latent steps and tokens [N, K, width] of their intervals -> [N, S, dim] to add to x."""
        heads = self.attention.project(self.norm(x), tokens, rope=rope)
        return self.attention.output(attend(*heads, None))


class Injection(nn.Module):
    """h + speech(h) + effects(h), then scaled and shifted by the music. Every branch reads the same h. What a
    track adds passes through `added[track]`, where a hook can read it; what tracks add together, through
    `added["shared"]`."""

    def __init__(self, dim: int, heads: int, shape: ControlShape, layers: int) -> None:
        super().__init__()
        self.shape = shape
        self.speech = TrackAttention(dim, heads, shape, layers)
        separate = shape.injection == "separate"
        self.effects = TrackAttention(dim, heads, shape, layers) if separate else None
        pooled = shape.music == "pooled"
        self.style = ZeroLinear32(shape.width, 2 * dim) if pooled else None
        self.music = None if pooled else TrackAttention(dim, heads, shape, layers)
        spoken = (*shape.speech, "effects") if separate else ("shared",)
        names = spoken if pooled else (*spoken, "music")
        self.added = nn.ModuleDict({name: nn.Identity() for name in names})

    def forward(self, x: Tensor, tracks: Mapping[str, Tensor], places: Places) -> Tensor:
        """Video tokens of this process [B, T', dim] fp32, and the tokens [B, M, K, width] fp32 of every track -> the
        steered video tokens."""
        h, intervals = _by_step(x, places)
        found = [
            self.added[name](attention(h, _of(tokens, intervals).flatten(0, 1), places.rope))
            for name, (attention, tokens) in zip(self.added, self._branches(tracks), strict=True)
        ]
        steered = x + _tokens(sum(found[1:], found[0]), x, places)
        if self.style is None:
            return steered
        scale, shift = self.style(tracks["music"].mean((1, 2)))[:, None].chunk(2, -1)
        return torch.addcmul(shift, steered, 1 + scale)

    def _branches(self, tracks: Mapping[str, Tensor]) -> Sequence[tuple[TrackAttention, Tensor]]:
        """The attentions in the order of `added`, each with the tokens [B, M, K, width] that it asks."""
        speech, effects = [tracks[name] for name in self.shape.speech], tracks["effects"]
        branches: list[tuple[TrackAttention, Tensor]]
        if self.effects is None:
            branches = [(self.speech, torch.cat((*speech, effects), 2))]
        else:
            branches = [*((self.speech, speaker) for speaker in speech), (self.effects, effects)]
        return branches if self.music is None else [*branches, (self.music, tracks["music"])]


def _by_step(x: Tensor, places: Places) -> tuple[Tensor, list[int]]:
    """Tokens [B, T', dim] that begin with token `first` of a video -> [B n, space, dim] of the n latent steps that they
    lie in, filled up with zeros, and the interval of each."""
    front, step = places.first % places.space, places.first // places.space
    count = -(-(front + x.shape[1]) // places.space)
    steps = F.pad(x, (0, 0, front, count * places.space - front - x.shape[1]))
    # Past the last step lie only the tokens with which a split sequence is padded.
    last = len(places.interval) - 1
    intervals = [places.interval[min(here, last)] for here in range(step, step + count)]
    return torch.unflatten(steps, 1, (count, places.space)).flatten(0, 1), intervals


def _of(tokens: Tensor, intervals: Sequence[int]) -> Tensor:
    """[B, M, ...] of all intervals -> [B, n, ...] of these, which ascend."""
    first, last = intervals[0], intervals[-1]
    return repeated(tokens[:, first : last + 1], [intervals.count(index) for index in range(first, last + 1)])


def _tokens(steps: Tensor, x: Tensor, places: Places) -> Tensor:
    """The inverse: [B n, space, dim] -> [B, T', dim], shaped like x."""
    front = places.first % places.space
    return torch.unflatten(steps, 0, (x.shape[0], -1)).flatten(1, 2)[:, front : front + x.shape[1]]
