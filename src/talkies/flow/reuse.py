"""What the late steps of a sampler take from earlier ones: results of self-attention, and branches of guidance."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from talkies.flow.config import ReuseConfig
from talkies.streams.batch import Cache, T

Predictions = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One evaluation of guidance: the conditions that it does `without`, the blocks that it passes through."""

    without: frozenset[str] = frozenset()
    skipped: frozenset[int] = frozenset()


FULL = Branch()
"""All conditions, all blocks."""
Evaluate = Callable[[Sequence[Branch]], dict[Branch, Predictions]]
"""Branches -> their predictions at one step."""


class Kept:
    """Values by key: each is computed at every `every`-th step, and used again in between. A step that computes a value
    does so whenever it is asked, since a sampler may evaluate it at two noise levels."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._values: dict[Hashable, tuple[int, Any]] = {}

    def __call__(self, step: int, key: Hashable, compute: Callable[[], T]) -> T:
        """The value of `key` at a step: `compute()`, or that of a step less than `every` before."""
        if not self.due(step, key):
            kept: T = self._values[key][1]
            return kept
        value = compute()
        self._values[key] = (step, value)
        return value

    def due(self, step: int, key: Hashable) -> bool:
        """Whether the value of `key` has to be computed at a step."""
        return key not in self._values or not 0 < step - self._values[key][0] < self.every


class Reuse:
    """The memory of one sampling run of `steps` steps; without `config`, nothing is kept."""

    def __init__(self, config: ReuseConfig | None, steps: int) -> None:
        config = config or ReuseConfig()
        self.begin = math.ceil(config.after * steps)
        self._attention, self._differences = Kept(config.attention_every), Kept(config.branches_every)
        self._evaluated = Kept(config.attention_every)

    def attends(self, step: int, branch: Hashable) -> bool:
        """Whether an evaluation of a branch, which begins now, computes its self-attention; else it takes what it last
        computed. Branches that differ in this cannot be evaluated together."""
        if step < self.begin or self._attention.every == 1:
            return True
        return self._evaluated(step, branch, lambda: step) == step

    def cache(self, step: int, branches: Sequence[Hashable]) -> Cache | None:
        """For the self-attention of branches that are evaluated together, one batch after another, at a step: each
        reads and keeps its own results alone."""
        if step < self.begin or self._attention.every == 1:
            return None
        return partial(_of_branches, partial(self._attention, step), branches)

    def predictions(
        self, step: int, branches: Sequence[Branch], inactive: frozenset[str], evaluate: Evaluate
    ) -> dict[Branch, Predictions]:
        """The predictions of `branches` at a step. Where one is not due, it is the full one's plus the difference that
        it last had, with the same `inactive` parameter groups."""
        if step < self.begin or self._differences.every == 1 or FULL not in branches:
            return evaluate(branches)
        others = [branch for branch in branches if branch != FULL]
        made = evaluate([FULL, *(branch for branch in others if self._differences.due(step, (branch, inactive)))])
        full = made[FULL]

        def difference(branch: Branch) -> Predictions:
            return {name: v - full[name] for name, v in made[branch].items()}

        found = {FULL: full}
        for branch in others:
            apart = self._differences(step, (branch, inactive), partial(difference, branch))
            found[branch] = {name: full[name] + v for name, v in apart.items()}
        return found


def _of_branches(cache: Cache, branches: Sequence[Hashable], key: Hashable, compute: Callable[[], T]) -> T:
    """The rows of every branch, by its own key: all are computed now, in one computation, or none is."""
    if len(branches) == 1:
        return cache((branches[0], key), compute)
    made: list[T] = []

    def rows(index: int) -> T:
        if not made:
            made.append(compute())
        return _rows(made[0], index, len(branches))

    parts = [cache((branch, key), partial(rows, index)) for index, branch in enumerate(branches)]
    return made[0] if made else _joined(parts)


def _rows(value: T, index: int, count: int) -> T:
    """The share of one of `count` batches in a tensor [count * B, ...], or in the tensors of a mapping."""
    found: Any = value
    if isinstance(found, Mapping):
        found = {name: _rows(x, index, count) for name, x in found.items()}
    else:
        found = found.chunk(count)[index]
    share: T = found
    return share


def _joined(parts: Sequence[T]) -> T:
    found: Any = parts
    if isinstance(found[0], Mapping):
        found = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    else:
        found = torch.cat(found)
    whole: T = found
    return whole
