"""From a batch to the inputs and targets of a training step: levels, noise, noisy latents, targets, dropped conditions.

Everything drawn is a function of (seed, sample id, visit) and the name of the draw.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from talkies.flow.config import FlowConfig
from talkies.flow.draw import gaussian, uniform
from talkies.flow.loss import per_sample_loss, weight_of
from talkies.flow.schedule import level_of, u_of
from talkies.flow.target import noisy, target_of
from talkies.streams.batch import Batch, Stream, Text
from talkies.streams.system import Task

ALL = "all"
"""The name in dropout rates by which all conditions of a sample are dropped together."""


@dataclass(frozen=True, kw_only=True)
class Noised:
    """`streams` of a batch, those that are trained at their noise level, the others as they were; by trained stream,
    `targets` shaped like the latents and `times` fp32, [B] or, with known latent steps, [B, T]. Without loss: the
    samples [B] bool whose stream is `given`, and the latent steps [B, T] bool that are `known`."""

    streams: Mapping[str, Stream]
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    times: Mapping[str, Tensor] = field(default_factory=dict)
    given: Mapping[str, Tensor] = field(default_factory=dict)
    known: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def levels(self) -> dict[str, Tensor]:
        """The noise level [B] of every sample, by trained stream: that of its steps that are not known."""
        return {name: time if time.ndim == 1 else time.amax(1) for name, time in self.times.items()}


def noised(
    batch: Batch,
    flow: FlowConfig,
    trained: Collection[str],
    *,
    seed: int,
    ranges: Mapping[str, tuple[float, float]],
    given: Mapping[str, Tensor] | None = None,
    known: Mapping[str, Tensor] | None = None,
) -> Noised:
    """Draw u ~ U(0, 1) per sample and trained stream, take the schedule's level, and noise the latents to it.

    `ranges` restricts streams to levels in [low, high) (MOVA's experts; with `flow.shared` the one u of a sample is
    restricted to the first range). `given[name]` [B] bool: samples whose stream is clean; `known[name]` [B, T] bool:
    latent steps that are. Raises ValueError for the range of a stream that the batch does not have.
    """
    missing = [name for name in ranges if name not in batch.streams]
    if missing:
        raise ValueError(f"this step trains {missing[0]}, but the clips have only {', '.join(batch.streams)}")
    times, clean, steps = {}, {}, {}
    for name in trained:
        levels = _levels(batch, flow, name, seed=seed, ranges=ranges).to(batch.streams[name].latent.device)
        if given is not None and name in given:
            clean[name] = given[name].to(levels.device)
            levels = torch.where(clean[name], 0.0, levels)
        if known is not None and name in known:
            steps[name] = known[name].to(levels.device)
            levels = torch.where(steps[name], 0.0, levels[:, None])
        times[name] = levels
    noise = {name: _noise(batch, name, seed, batch.visits, f"noise/{name}") for name in trained}
    return replace(noised_to(batch, flow, times, noise), given=clean, known=steps)


def given_by(batch: Batch, tasks: Mapping[str, Task], chances: Mapping[str, float], *, seed: int) -> dict[str, Tensor]:
    """Stream -> [B] bool: the samples whose task gives it. Each sample draws its task with these `chances`."""
    u = uniform(seed, batch.ids, batch.visits, "task")
    given: dict[str, Tensor] = {}
    begin = 0.0
    for name, chance in chances.items():
        drawn = (u >= begin) & (u < begin + chance)
        begin += chance
        for stream in tasks[name].given:
            given[stream] = given.get(stream, torch.zeros_like(drawn)) | drawn
    return given


def losses_of(predicted: Mapping[str, Tensor], draw: Noised, flow: FlowConfig) -> dict[str, Tensor]:
    """The loss of every sample [B] by stream: the mean of the squared error over its valid steps that are not known,
    weighted by noise level; 0 for a sample whose stream is given."""
    losses = {}
    for name, target in draw.targets.items():
        weight = weight_of(flow.weighting, draw.times[name])
        valid = draw.streams[name].valid
        valid = valid & ~draw.known[name] if name in draw.known else valid
        loss = per_sample_loss(predicted[name], target, valid, weight)
        losses[name] = loss.masked_fill(draw.given[name], 0.0) if name in draw.given else loss
    return losses


def noised_to(batch: Batch, flow: FlowConfig, times: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> Noised:
    """The streams named in `times` at those levels, with this noise; the others are no targets."""
    streams, targets = {name: _beside(stream) for name, stream in batch.streams.items()}, {}
    for name, time in times.items():
        latent = batch.streams[name].latent
        streams[name] = replace(batch.streams[name], latent=noisy(flow.target, latent, noise[name], time), time=time)
        targets[name] = target_of(flow.target, latent, noise[name], time)
    return Noised(streams=streams, targets=targets, times=times)


def _beside(stream: Stream) -> Stream:
    return replace(stream, role="condition") if stream.role == "target" else stream


def noised_at(batch: Batch, flow: FlowConfig, levels: Mapping[str, float], *, seed: int, draw: int) -> Noised:
    """The streams named in `levels` at one level for all samples, with the noise number `draw` of every clip."""
    count = len(batch.ids)
    times = {
        name: torch.full((count,), level, device=batch.streams[name].latent.device) for name, level in levels.items()
    }
    noise = {name: _noise(batch, name, seed, [draw] * count, f"heldout/{name}") for name in levels}
    return noised_to(batch, flow, times, noise)


def _noise(batch: Batch, name: str, seed: int, visits: Collection[int], draw: str) -> Tensor:
    latent = batch.streams[name].latent
    return gaussian(seed, batch.ids, tuple(visits), draw, latent.shape[1:]).to(latent.device)


def _levels(
    batch: Batch, flow: FlowConfig, name: str, *, seed: int, ranges: Mapping[str, tuple[float, float]]
) -> Tensor:
    """Noise levels of one stream, [B] fp32."""
    u = uniform(seed, batch.ids, batch.visits, "time/shared" if flow.shared else f"time/{name}")
    ranged = next(iter(ranges), name) if flow.shared else name
    if ranged in ranges:
        low, high = (u_of(flow.schedule, ranged, level) for level in ranges[ranged])
        if not low < high:
            between = " and ".join(f"{level:g}" for level in ranges[ranged])
            raise ValueError(f"flow.schedule has no noise level between {between}, but steps train there: add steps")
        u = low + (high - low) * u
    return level_of(flow.schedule, name, u).float()


def dropped(
    batch: Batch, rates: Mapping[str, float], *, seed: int, groups: Mapping[str, Collection[str]] | None = None
) -> Batch:
    """The batch with conditions dropped per sample, by name and with the probability of `rates`. The name of one of the
    `groups` drops its conditions together, and `all` drops all that `rates` names. A dropped text is the empty
    caption's, a dropped stream is masked out as a whole.

    Raises ValueError for a rate that is not a probability.
    """
    for name, rate in rates.items():
        if not 0 <= rate <= 1:
            raise ValueError(f"the dropout of {name} is {rate}: it must lie between 0 and 1")
    everything = _kept(batch, ALL, rates[ALL], seed) if ALL in rates else None
    texts, streams = dict(batch.texts), dict(batch.streams)
    for rated in rates.keys() - {ALL}:
        keep = _kept(batch, rated, rates[rated], seed)
        keep = keep if everything is None else keep & everything
        for name in (groups or {}).get(rated, (rated,)):
            if name in texts:
                texts[name] = texts[name].where(keep.to(texts[name].embedding.device), batch.null_texts[name])
            else:
                stream = streams[name]
                streams[name] = replace(stream, mask=stream.valid & keep.to(stream.latent.device)[:, None])
    return replace(batch, texts=texts, streams=streams)


def _kept(batch: Batch, name: str, rate: float, seed: int) -> Tensor:
    return uniform(seed, batch.ids, batch.visits, f"dropout/{name}") >= rate


def null_texts(texts: Mapping[str, Text], nulls: Mapping[str, Text], names: Collection[str]) -> dict[str, Text]:
    """`texts`, those that `names` names replaced by the empty caption (batch 1)."""
    return {
        name: nulls[name].expand(text.embedding.shape[0]) if name in names else text for name, text in texts.items()
    }
