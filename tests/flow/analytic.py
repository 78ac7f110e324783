"""A denoiser whose result is known in closed form."""

from collections.abc import Mapping
from fractions import Fraction

import torch
from torch import Tensor

from talkies.streams import Grid, Modality
from talkies.streams.batch import Condition, Stream, Text


class GaussianDenoiser:
    """The exact velocity field of x0 ~ N(mean, std**2), which flows noise z to mean + std z.

    The mean depends on the condition: the sum of the caption's features, and `coupling` where the
    modalities are coupled. `calls` lists the conditions and `seen` the streams of every evaluation.
    """

    def __init__(self, std: float, coupling: float = 0.0) -> None:
        self.std, self.coupling = std, coupling
        self.calls: list[Condition] = []
        self.seen: list[Mapping[Modality, Stream]] = []

    def mean(self, condition: Condition) -> Tensor:
        """[B]."""
        return condition.text.embedding.sum(dim=(1, 2)) + self.coupling * condition.coupled

    def __call__(self, streams: Mapping[Modality, Stream], condition: Condition) -> dict[Modality, Tensor]:
        self.calls.append(condition)
        self.seen.append(streams)
        return {m: self.velocity(s, self.mean(condition)) for m, s in streams.items()}

    def velocity(self, stream: Stream, mean: Tensor) -> Tensor:
        """E[noise - x0 | x_t]."""
        shape = (-1, *[1] * (stream.latent.ndim - 1))
        t, mu = stream.time.view(shape), mean.view(shape)
        slope = (t - (1 - t) * self.std**2) / ((1 - t) ** 2 * self.std**2 + t**2)
        return slope * (stream.latent - (1 - t) * mu) - mu


GRIDS: dict[Modality, Grid] = {
    "video": Grid(channels=2, shape=(3, 2, 4), rate=Fraction(6)),
    "audio": Grid(channels=3, shape=(5,), rate=Fraction(25)),
}


def text(*values: float) -> Text:
    """Captions whose features sum to `values`."""
    embedding = torch.tensor(values)[:, None, None] / 6 * torch.ones(len(values), 2, 3)
    return Text(embedding=embedding, length=torch.full((len(values),), 2))


def streams(batch: int = 2, modalities: tuple[Modality, ...] = ("video", "audio")) -> dict[Modality, Stream]:
    """Streams of pure noise."""
    generator = torch.Generator().manual_seed(0)
    latents = {m: torch.randn(batch, *GRIDS[m].latent_shape, generator=generator) for m in ("video", "audio")}
    return {m: Stream(latent=latents[m], time=torch.ones(batch), grid=GRIDS[m]) for m in modalities}
