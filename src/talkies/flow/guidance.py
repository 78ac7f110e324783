"""Classifier-free guidance over any conditions, as a ladder of evaluations that use more and more of them.

v = 1 v(rung 0) + s_1 [v(rung 1) - v(rung 0)] + s_2 [v(rung 2) - v(rung 1)] + ...; MOVA's text and Bridge (section 5.1,
eq. 6, and section 7.2) are one instance. Every weighting of evaluations whose weights add up to 1 is such a ladder.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from talkies.flow.config import SCALE, Scale
from talkies.flow.noising import null_texts
from talkies.streams.batch import Condition, Denoiser, Stream, Text
from talkies.streams.system import Rung

StepDenoiser = Callable[[int], Denoiser]
"""Step of the sampler, from 0 -> the denoiser of that step."""


def scale_at(scale: Scale, step: int, steps: int) -> float:
    """The value of a scale at step `step`, from 0, of `steps`."""
    if isinstance(scale, int | float):
        return scale
    progress = step / max(1, steps - 1)
    return scale.last + (scale.first - scale.last) * (1 + math.cos(math.pi * progress)) / 2


def needed(
    ladder: Sequence[Rung], scales: Mapping[str, Scale], step: int, steps: int
) -> list[tuple[frozenset[str], float]]:
    """The evaluations that `scales` need at a step, each with the scale of its difference from the previous one.

    Collected by evaluation, each v has the weight (own scale - next scale), so an evaluation whose scale equals the
    next one's drops out (and so does the last one if its scale is 0).
    """
    values = [1.0, *(scale_at(scales.get(str(rung.scale), SCALE), step, steps) for rung in ladder[1:])]
    following = [*values[1:], 0.0]
    return [(rung.without, own) for rung, own, after in zip(ladder, values, following, strict=True) if own != after]


def guided(
    denoiser: Denoiser,
    ladder: Sequence[Rung],
    scales: Mapping[str, Scale],
    nulls: Mapping[str, Text],
    *,
    steps: int,
) -> StepDenoiser:
    """The denoiser of every step of a sampler: evaluates `denoiser` once per rung needed and combines in fp32. If only
    the rung that uses everything is needed, it is `denoiser` itself. `nulls`: the empty captions by text, batch 1.

    Raises ValueError if a scale is not finite, or multiplies nothing.
    """
    known = {rung.scale for rung in ladder}
    for name, scale in scales.items():
        if name not in known and scale != SCALE:
            raise ValueError(
                f"sampling.scales.{name} is {scale}, but there is nothing here to guide with it: remove it"
            )
        if not all(math.isfinite(scale_at(scale, step, steps)) for step in range(steps)):
            raise ValueError(f"sampling.scales.{name} is {scale}: it must be a finite number, 1 for no guidance")

    def at(step: int) -> Denoiser:
        rungs = needed(ladder, scales, step, steps)
        if rungs == [(frozenset(), 1.0)]:
            return denoiser
        return _combined(denoiser, rungs, nulls)

    return at


def _combined(denoiser: Denoiser, rungs: Sequence[tuple[frozenset[str], float]], nulls: Mapping[str, Text]) -> Denoiser:
    def evaluate(streams: Mapping[str, Stream], condition: Condition, without: frozenset[str]) -> dict[str, Tensor]:
        texts = null_texts(condition.texts, nulls, without)
        predicted = denoiser(streams, replace(condition, texts=texts, without=condition.without | without))
        return {name: v.float() for name, v in predicted.items()}

    def call(streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        (first, _), *others = rungs
        below = result = evaluate(streams, condition, first)
        for without, scale in others:
            above = evaluate(streams, condition, without)
            result = {name: v + scale * (above[name] - below[name]) for name, v in result.items()}
            below = above
        return result

    return call
