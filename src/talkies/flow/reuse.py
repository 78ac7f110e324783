"""What the late steps of a sampler take from earlier ones: results of self-attention, and branches of guidance."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

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


class Kept:
    """Values by key: each is computed at every `every`-th step, and used again in between. A step that computes a value
    does so whenever it is asked, since a sampler may evaluate it at two noise levels."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._values: dict[Hashable, tuple[int, Any]] = {}

    def __call__(self, step: int, key: Hashable, compute: Callable[[], T]) -> T:
        """The value of `key` at a step: `compute()`, or that of a step less than `every` before."""
        if key in self._values and 0 < step - self._values[key][0] < self.every:
            kept: T = self._values[key][1]
            return kept
        value = compute()
        self._values[key] = (step, value)
        return value


class Reuse:
    """The memory of one sampling run of `steps` steps; without `config`, nothing is kept."""

    def __init__(self, config: ReuseConfig | None, steps: int) -> None:
        config = config or ReuseConfig()
        self.begin = math.ceil(config.after * steps)
        self._attention, self._differences = Kept(config.attention_every), Kept(config.branches_every)

    def cache(self, step: int, branch: Hashable) -> Cache | None:
        """For the self-attention of a branch at a step: a branch reads its own results alone."""
        if step < self.begin or self._attention.every == 1:
            return None
        return partial(_of_branch, partial(self._attention, step), branch)

    def predictions(
        self, step: int, branches: Sequence[Branch], inactive: frozenset[str], evaluate: Callable[[Branch], Predictions]
    ) -> dict[Branch, Predictions]:
        """The predictions of `branches` at a step. Where one is not due, it is the full one's plus the difference that
        it last had, with the same `inactive` parameter groups."""
        if step < self.begin or self._differences.every == 1 or FULL not in branches:
            return {branch: evaluate(branch) for branch in branches}
        full = evaluate(FULL)

        def difference(branch: Branch) -> Predictions:
            return {name: v - full[name] for name, v in evaluate(branch).items()}

        found = {FULL: full}
        for branch in branches:
            if branch != FULL:
                apart = self._differences(step, (branch, inactive), partial(difference, branch))
                found[branch] = {name: full[name] + v for name, v in apart.items()}
        return found


def _of_branch(cache: Cache, branch: Hashable, key: Hashable, compute: Callable[[], T]) -> T:
    return cache((branch, key), compute)
