"""Conditions of a batch that are encoded anew, of their sound, degraded: a network learns to hear past what spoils it.

Which samples, and what is done to them, follows from (seed, id, visit) alone, so that a resumed run, another layout and
a step that is repeated have the same values. The codecs are no part of the phase's module, state or checkpoints.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from talkies.flow.degradation import chosen, degraded
from talkies.nn.precision import no_autocast
from talkies.streams.batch import Batch, Stream
from talkies.streams.codec import AudioCodec, AudioEncoder
from talkies.streams.system import Degraded, Parts


@dataclass(frozen=True, kw_only=True)
class Ear:
    """The codecs of a condition that is degraded, of one sample rate: `source` decodes the sound that is stored for it,
    `codec` made the condition."""

    source: AudioCodec
    codec: AudioEncoder


Open = Callable[[torch.device], Mapping[str, Ear]]
"""Device -> the codecs there, by condition."""


class Degrading:
    """Degrades the conditions that `parts` names, in batches of any device; `open` is called once for each device."""

    def __init__(self, parts: Parts, open: Open, *, seed: int) -> None:
        self.parts, self.seed = parts, seed
        self._open, self._ears = open, dict[torch.device, Mapping[str, Ear]]()

    def open(self, device: torch.device) -> Mapping[str, Ear]:
        """The codecs on `device`. Raises as what opens them."""
        if device not in self._ears:
            self._ears[device] = self._open(device) if self.parts.degraded else {}
        return self._ears[device]

    def __call__(self, batch: Batch) -> Batch:
        """The batch with the conditions of the samples that are drawn degraded, without the sounds that only this
        needs."""
        for name, one in self.parts.degraded.items():
            ears = self.open(batch.streams[name].latent.device)
            rows = chosen(one.share, seed=self.seed, ids=batch.ids, visits=batch.visits, name=f"degraded/{name}")
            batch = with_degraded(batch, name, one, ears[name], rows, seed=self.seed)
        return without_sources(batch, self.parts)


@torch.no_grad()
def with_degraded(batch: Batch, name: str, one: Degraded, ear: Ear, rows: Sequence[int], *, seed: int) -> Batch:
    """The batch whose samples `rows` have other latents of the stream `name`: those of its sound, degraded, of the same
    grid, mask and start. In fp32 and one by one, as codecs encode what is stored, so that batches change nothing."""
    stream, source = batch.streams[name], batch.streams[one.source]
    latents = [*stream.latent]
    with no_autocast(stream.latent.device):
        for row in rows:
            samples, valid = _sound(source, row, ear, _samples(stream, ear))
            spoilt = degraded(
                samples, valid, one.by, sample_rate=ear.codec.sample_rate,
                seed=seed, ids=batch.ids[row : row + 1], visits=batch.visits[row : row + 1], name=f"degraded/{name}",
            )  # fmt: skip
            latents[row] = ear.codec.encode(spoilt)[0].to(stream.latent)
            assert latents[row].shape == stream.latent[row].shape, "the codec is the one that made the stream"
    return replace(batch, streams={**batch.streams, name: replace(stream, latent=torch.stack(latents))})


def without_sources(batch: Batch, parts: Parts) -> Batch:
    """The batch without the sounds that are read to be degraded alone."""
    only = {*parts.read} - {*parts.streams}
    return replace(batch, streams={name: stream for name, stream in batch.streams.items() if name not in only})


def _samples(stream: Stream, ear: Ear) -> int:
    """The samples of all steps of a sound's stream."""
    return int(stream.grid.shape[0] * ear.codec.sample_rate / stream.grid.rate)


def _sound(source: Stream, row: int, ear: Ear, count: int) -> tuple[Tensor, Tensor]:
    """`count` samples [1, S] of a sample's sound, and which of them are no padding [1, S]: its steps may be of another
    length than those of the latents."""
    samples = ear.source.decode(source.latent[row : row + 1])
    each = samples.shape[1] // source.grid.shape[0]
    valid = source.valid[row : row + 1].repeat_interleave(each, 1)
    return _fitted(samples, count), _fitted(valid, count)


def _fitted(x: Tensor, count: int) -> Tensor:
    """[1, S] -> [1, count], with zeros at the end."""
    return pad(x[:, :count], (0, max(0, count - x.shape[1])))
