"""Classifier-free guidance as a ladder of evaluations (flow/ladder.py), combined for every step of a sampler.

Skip-layer guidance adds scale [v(all conditions) - v(all conditions, blocks passed through)].
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from talkies.flow.config import SCALE, ReuseConfig, Scale, SkipLayerConfig
from talkies.flow.ladder import needed, scale_at
from talkies.flow.noising import null_texts
from talkies.flow.reuse import FULL, Branch, Predictions, Reuse
from talkies.streams.batch import Condition, Denoiser, Stream, Text
from talkies.streams.system import Rung

StepDenoiser = Callable[[int], Denoiser]
"""Step of the sampler, from 0 -> the denoiser of that step."""


def guided(
    denoiser: Denoiser,
    ladder: Sequence[Rung],
    scales: Mapping[str, Scale],
    nulls: Mapping[str, Text],
    *,
    steps: int,
    skip_layer: SkipLayerConfig | None = None,
    reuse: ReuseConfig | None = None,
) -> StepDenoiser:
    """The denoiser of every step of a sampler: evaluates `denoiser` once per rung needed and combines in fp32. If only
    the rung that uses everything is needed, it is `denoiser` itself. `nulls`: by text, what stands for the dropped one
    (the empty caption, as in training, or a negative prompt), batch 1 or that of the streams; so no evaluation is
    `without` a text.

    What `reuse` keeps belongs to one sampling run: make another for the next. Raises ValueError if a scale is not
    finite, or multiplies nothing.
    """
    known = {rung.scale for rung in ladder}
    for name, scale in scales.items():
        if name not in known and scale != SCALE:
            raise ValueError(
                f"sampling.scales.{name} is {scale}, but there is nothing here to guide with it: remove it"
            )
        if not all(math.isfinite(scale_at(scale, step, steps)) for step in range(steps)):
            raise ValueError(f"sampling.scales.{name} is {scale}: it must be a finite number, 1 for no guidance")
    kept = Reuse(reuse, steps)

    def at(step: int) -> Denoiser:
        rungs = needed(ladder, scales, step, steps)
        if rungs == [(frozenset(), 1.0)] and skip_layer is None and kept.cache(step, FULL) is None:
            return denoiser
        return _Guided(denoiser=denoiser, rungs=rungs, nulls=nulls, skip_layer=skip_layer, reuse=kept, step=step)

    return at


@dataclass(frozen=True, kw_only=True)
class _Guided:
    """The denoiser of one step."""

    denoiser: Denoiser
    rungs: Sequence[tuple[frozenset[str], float]]
    nulls: Mapping[str, Text]
    skip_layer: SkipLayerConfig | None
    reuse: Reuse
    step: int

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        rungs = [Branch(without=without) for without, _ in self.rungs]
        skip = None if self.skip_layer is None else Branch(skipped=frozenset(self.skip_layer.layers))
        branches = rungs if skip is None else [*rungs, *(() if FULL in rungs else (FULL,)), skip]
        found = self.reuse.predictions(
            self.step, branches, condition.inactive, lambda branch: self._evaluate(streams, condition, branch)
        )
        below = found[rungs[0]]
        result = dict(below)
        for branch, (_, scale) in list(zip(rungs, self.rungs, strict=True))[1:]:
            result = {name: v + scale * (found[branch][name] - below[name]) for name, v in result.items()}
            below = found[branch]
        if self.skip_layer is None or skip is None:
            return result
        return {
            name: _skip_guided(v, found[FULL][name], found[skip][name], self.skip_layer) for name, v in result.items()
        }

    def _evaluate(self, streams: Mapping[str, Stream], condition: Condition, branch: Branch) -> Predictions:
        here = replace(
            condition,
            texts=null_texts(condition.texts, self.nulls, branch.without),
            without=condition.without | (branch.without - self.nulls.keys()),
            skipped=condition.skipped | branch.skipped,
            cache=self.reuse.cache(self.step, (branch, condition.inactive)),
        )
        return {name: v.float() for name, v in self.denoiser(streams, here).items()}


def _skip_guided(guided: Tensor, full: Tensor, perturbed: Tensor, config: SkipLayerConfig) -> Tensor:
    """`guided` away from the perturbed prediction; per sample, its deviation moved towards that of the full one."""
    result = guided + config.scale * (full - perturbed)
    if not config.rescale:
        return result
    axes = tuple(range(1, full.ndim))
    factor = full.std(axes, keepdim=True) / result.std(axes, keepdim=True)
    return result * (config.rescale * factor + 1 - config.rescale)
