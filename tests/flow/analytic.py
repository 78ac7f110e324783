"""Denoisers whose result is known in closed form."""

import math
from collections.abc import Mapping
from fractions import Fraction
from types import SimpleNamespace

import torch
from torch import Tensor

from talkies.models.mova.config import JointConfig, MovaConfig
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text

JOINT = SimpleNamespace(model=MovaConfig(preset="toy"), phase=JointConfig(), codecs={})
"""What MOVA sees of a joint phase."""


class GaussianDenoiser:
    """The exact velocity field of x0 ~ N(mean, std**2), which flows noise z to mean + std z.

    The mean depends on the condition: the sum of the caption's features, and `coupling` where the
    streams are coupled. `calls` lists the conditions and `seen` the streams of every evaluation.
    """

    def __init__(self, std: float, coupling: float = 0.0) -> None:
        self.std, self.coupling = std, coupling
        self.calls: list[Condition] = []
        self.seen: list[Mapping[str, Stream]] = []

    def mean(self, condition: Condition) -> Tensor:
        """[B]."""
        return condition.texts["text"].embedding.sum(dim=(1, 2)) + self.coupling * ("bridge" not in condition.without)

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        self.calls.append(condition)
        self.seen.append(streams)
        return {m: self.predicted(s, self.mean(condition)) for m, s in streams.items()}

    def predicted(self, stream: Stream, mean: Tensor) -> Tensor:
        """E[noise - x0 | x_t]."""
        shape = (-1, *[1] * (stream.latent.ndim - 1))
        t, mu = stream.time.view(shape), mean.view(shape)
        slope = (t - (1 - t) * self.std**2) / ((1 - t) ** 2 * self.std**2 + t**2)
        return slope * (stream.latent - (1 - t) * mu) - mu


class GaussianV(GaussianDenoiser):
    """The same on the path of v-prediction: DDIM without noise also leads from z to mean + std z."""

    def predicted(self, stream: Stream, mean: Tensor) -> Tensor:
        """E[cos(pi t / 2) noise - sin(pi t / 2) x0 | x_t]."""
        shape = (-1, *[1] * (stream.latent.ndim - 1))
        angle, mu = (math.pi / 2 * stream.time.double()).view(shape), mean.double().view(shape)
        a, s = angle.cos(), angle.sin()
        deviation = (stream.latent.double() - a * mu) / (a**2 * self.std**2 + s**2)
        return (a * s * deviation - s * (mu + a * self.std**2 * deviation)).float()


GRIDS: dict[str, Grid] = {
    "video": Grid(channels=2, shape=(3, 2, 4), rate=Fraction(6)),
    "audio": Grid(channels=3, shape=(5,), rate=Fraction(25)),
}


def text(*values: float) -> Text:
    """Captions whose features sum to `values`."""
    embedding = torch.tensor(values)[:, None, None] / 6 * torch.ones(len(values), 2, 3)
    return Text(embedding=embedding, length=torch.full((len(values),), 2))


def captioned(*values: float) -> Condition:
    """The condition of such captions."""
    return Condition(texts={"text": text(*values)})


def streams(batch: int = 2, names: tuple[str, ...] = ("video", "audio")) -> dict[str, Stream]:
    """Streams of pure noise."""
    generator = torch.Generator().manual_seed(0)
    latents = {m: torch.randn(batch, *GRIDS[m].latent_shape, generator=generator) for m in ("video", "audio")}
    return {m: Stream(latent=latents[m], time=torch.ones(batch), grid=GRIDS[m]) for m in names}
