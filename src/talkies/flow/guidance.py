"""Classifier-free guidance as a ladder of evaluations (flow/ladder.py), combined for every step of a sampler.

Skip-layer guidance adds scale [v(all conditions) - v(all conditions, blocks passed through)].
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from talkies.flow.config import SCALE, ReuseConfig, Scale, SkipLayerConfig
from talkies.flow.ladder import needed, scale_at
from talkies.flow.noising import null_texts
from talkies.flow.reuse import FULL, Branch, Predictions, Reuse
from talkies.streams.batch import Condition, Denoiser, Memory, Stream, Text
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
    batch: int = 1,
) -> StepDenoiser:
    """The denoiser of every step of a sampler: evaluates `denoiser` once per rung needed and combines in fp32. If only
    the rung that uses everything is needed, it is `denoiser` itself. `nulls`: by text, what stands for the dropped one
    (the empty caption, as in training, or a negative prompt), batch 1 or that of the streams; so no evaluation is
    `without` a text. Rungs that differ in their texts alone are evaluated together, in at most `batch` rows.

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
    joined: Joined = {}

    def at(step: int) -> Denoiser:
        rungs = needed(ladder, scales, step, steps)
        if rungs == [(frozenset(), 1.0)] and skip_layer is None and kept.cache(step, [FULL]) is None:
            return denoiser
        return _Guided(
            denoiser=denoiser,
            rungs=rungs,
            nulls=nulls,
            skip_layer=skip_layer,
            reuse=kept,
            step=step,
            batch=batch,
            joined=joined,
        )

    return at


Joined = dict[tuple[frozenset[str], ...], tuple[Mapping[str, Text], Mapping[str, Text]]]
"""What the evaluations of a call do without -> the texts that were given, and those of the call."""


@dataclass(frozen=True, kw_only=True)
class _Guided:
    """The denoiser of one step."""

    denoiser: Denoiser
    rungs: Sequence[tuple[frozenset[str], float]]
    nulls: Mapping[str, Text]
    skip_layer: SkipLayerConfig | None
    reuse: Reuse
    step: int
    batch: int
    joined: Joined

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        rungs = [Branch(without=without) for without, _ in self.rungs]
        skip = None if self.skip_layer is None else Branch(skipped=frozenset(self.skip_layer.layers))
        branches = rungs if skip is None else [*rungs, *(() if FULL in rungs else (FULL,)), skip]
        found = self.reuse.predictions(
            self.step, branches, condition.inactive, partial(self._evaluate, streams, condition)
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

    def _evaluate(
        self, streams: Mapping[str, Stream], condition: Condition, branches: Sequence[Branch]
    ) -> dict[Branch, Predictions]:
        found: dict[Branch, Predictions] = {}
        for together in self._groups(branches, condition, len(next(iter(streams.values())).latent)):
            here = self._condition(condition, together)
            if len(together) == 1:
                predicted = [self.denoiser(streams, here)]
            else:
                rows = {name: stream.repeated(len(together)) for name, stream in streams.items()}
                whole = {name: v.chunk(len(together)) for name, v in self.denoiser(rows, here).items()}
                predicted = [{name: v[i] for name, v in whole.items()} for i in range(len(together))]
            for branch, values in zip(together, predicted, strict=True):
                found[branch] = {name: v.float() for name, v in values.items()}
        return found

    def _groups(self, branches: Sequence[Branch], condition: Condition, count: int) -> list[list[Branch]]:
        """The branches of `count` rows each that are evaluated together: their network is the same."""
        room = max(1, self.batch // count)
        if room == 1:  # in their order
            return [[branch] for branch in branches]
        alike: dict[Hashable, list[Branch]] = {}
        for branch in branches:
            attends = self.reuse.attends(self.step, (branch, condition.inactive))
            alike.setdefault((self._without(branch), branch.skipped, attends), []).append(branch)
        return [group[i : i + room] for group in alike.values() for i in range(0, len(group), room)]

    def _without(self, branch: Branch) -> frozenset[str]:
        """What the network is told to do without: a text is replaced."""
        return branch.without.difference(self.nulls)

    def _condition(self, condition: Condition, together: Sequence[Branch]) -> Condition:
        """Of branches that are evaluated together, one batch after another."""
        first = together[0]
        return replace(
            condition,
            texts=self._texts(condition.texts, [branch.without for branch in together]),
            without=condition.without | self._without(first),
            skipped=condition.skipped | first.skipped,
            cache=self.reuse.cache(self.step, [(branch, condition.inactive) for branch in together]),
        )

    def _texts(self, texts: Mapping[str, Text], dropped: Sequence[frozenset[str]]) -> Mapping[str, Text]:
        """Of evaluations that do without what is `dropped`, one batch after another. They are joined once for all
        steps."""
        if len(dropped) == 1:
            return null_texts(texts, self.nulls, dropped[0])
        known = self.joined.get(tuple(dropped))
        if known is None or known[0] is not texts:
            parts = [null_texts(texts, self.nulls, names) for names in dropped]
            whole = {name: Text.joined([part[name] for part in parts]) for name in texts}
            known = texts, {name: replace(text, cache=Memory()) for name, text in whole.items()}
            self.joined[tuple(dropped)] = known
        return known[1]


def _skip_guided(guided: Tensor, full: Tensor, perturbed: Tensor, config: SkipLayerConfig) -> Tensor:
    """`guided` away from the perturbed prediction; per sample, its deviation moved towards that of the full one."""
    result = guided + config.scale * (full - perturbed)
    if not config.rescale:
        return result
    axes = tuple(range(1, full.ndim))
    factor = full.std(axes, keepdim=True) / result.std(axes, keepdim=True)
    return result * (config.rescale * factor + 1 - config.rescale)
