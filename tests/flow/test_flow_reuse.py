"""Late steps take results of earlier ones, each evaluation its own; without reuse nothing is kept."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import pytest
import torch
from analytic import JOINT, captioned, streams, text
from torch import Tensor

from talkies.flow.config import ReuseConfig, Scale, SkipLayerConfig
from talkies.flow.guidance import guided
from talkies.flow.reuse import FULL, Branch, Kept, Predictions, Reuse
from talkies.models.mova.system import MOVA
from talkies.streams.batch import Condition, Stream

LADDER, NULLS, CONDITION = MOVA.ladder(JOINT), {"text": text(0.25)}, captioned(0.75, 1.75)
STEPS = 10


def dropped(condition: Condition) -> frozenset[str]:
    """The conditions that an evaluation does without."""
    null = torch.equal(condition.texts["text"].embedding[0], NULLS["text"].embedding[0])
    return condition.without | ({"text"} if null else set())


class Counting:
    """A denoiser with one block of attention; `evaluated` and `attended` list, by call, what it does without."""

    def __init__(self) -> None:
        self.evaluated: list[frozenset[str]] = []
        self.attended: list[frozenset[str]] = []

    def __call__(self, now: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        self.evaluated.append(dropped(condition))
        return {m: condition.recall(m, 0)(partial(self.attention, condition, s)) for m, s in now.items()}

    def attention(self, condition: Condition, stream: Stream) -> Tensor:
        self.attended.append(dropped(condition))
        shift = condition.texts["text"].embedding.mean() + len(condition.without) + len(condition.skipped)
        return stream.latent * len(self.evaluated) + shift


def outputs(
    config: ReuseConfig | None, scales: Mapping[str, Scale], skip: SkipLayerConfig | None = None
) -> tuple[Counting, list[dict[str, Tensor]]]:
    """Of every step."""
    denoiser = Counting()
    at = guided(denoiser, LADDER, scales, NULLS, steps=STEPS, reuse=config, skip_layer=skip)
    return denoiser, [at(step)(streams(), CONDITION) for step in range(STEPS)]


def test_a_value_is_kept_for_as_many_steps_as_asked() -> None:
    kept, made = Kept(3), []

    def value_at(step: int, key: str) -> int:
        return kept(step, key, lambda: made.append((step, key)) or step)  # type: ignore[func-returns-value]

    assert [value_at(step, "a") for step in range(8)] == [0, 0, 0, 3, 3, 3, 6, 6]
    assert value_at(7, "b") == 7
    assert value_at(7, "b") == 7  # a sampler's second evaluation within a step is computed again
    assert made == [(0, "a"), (3, "a"), (6, "a"), (7, "b"), (7, "b")]


def test_attention_is_computed_at_every_nth_late_step_alone() -> None:
    config = ReuseConfig(after=0.4, attention_every=2)
    plain, expected = outputs(None, {})
    denoiser, found = outputs(config, {})
    assert len(denoiser.evaluated) == len(plain.evaluated) == STEPS
    assert len(plain.attended) == 2 * STEPS  # two streams
    assert len(denoiser.attended) == 2 * (4 + 3)
    for step in range(STEPS):
        same = all(torch.equal(found[step][m], expected[step][m]) for m in found[step])
        assert same == (step < 4 or step % 2 == 0), step
        if not same:
            assert all(torch.equal(found[step][m], found[step - 1][m]) for m in found[step])


def test_every_evaluation_keeps_its_own_attention() -> None:
    denoiser, found = outputs(ReuseConfig(after=0.0, attention_every=STEPS), {"text": 3.0})
    assert denoiser.attended == [frozenset({"text"})] * 2 + [frozenset()] * 2
    assert all(torch.equal(one[m], found[0][m]) for one in found for m in one)


def test_other_branches_keep_their_difference_from_the_full_one() -> None:
    """The latents are multiplied by the number of the evaluation: the full one is number 13 in step 4, 16 in step 5."""
    scales = {"text": 3.0, "bridge": 2.0}
    plain, expected = outputs(None, scales)
    denoiser, found = outputs(ReuseConfig(after=0.4, branches_every=3), scales)
    assert len(plain.evaluated) == 3 * STEPS
    assert denoiser.evaluated.count(frozenset()) == STEPS
    assert len(denoiser.evaluated) == STEPS + 2 * (4 + 2)
    for m, stream in streams().items():
        assert all(torch.equal(found[step][m], expected[step][m]) for step in range(4))
        full = {step: stream.latent * number for step, number in ((4, 13), (5, 16))}
        apart = {step: found[step][m] - full[step] for step in full}
        assert float(apart[4].abs().max()) > 1
        torch.testing.assert_close(apart[5], apart[4], rtol=1e-5, atol=1e-4)


def test_branches_of_other_parameters_are_not_mixed() -> None:
    """A difference belongs to the expert that made it."""
    reuse = Reuse(ReuseConfig(after=0.0, branches_every=9), STEPS)
    null, made = Branch(without=frozenset({"text"})), []

    def evaluate(branches: Sequence[Branch]) -> dict[Branch, Predictions]:
        made.extend(branches)
        return {branch: {"video": torch.tensor(float(len(made)))} for branch in branches}

    for step, experts in enumerate(("high", "high", "low", "low")):
        reuse.predictions(step, [null, FULL], frozenset({experts}), evaluate)
    assert [branch for branch in made if branch == null] == [null, null]
    assert len(made) == 4 + 2


def test_reuse_that_reuses_nothing_changes_nothing() -> None:
    for skip in (None, SkipLayerConfig(layers=(0,))):
        plain, expected = outputs(None, {"text": 3.0}, skip)
        for config in (ReuseConfig(), ReuseConfig(after=1.0, attention_every=4, branches_every=4)):
            denoiser, found = outputs(config, {"text": 3.0}, skip)
            assert denoiser.evaluated == plain.evaluated
            assert denoiser.attended == plain.attended
            assert all(torch.equal(a[m], b[m]) for a, b in zip(found, expected, strict=True) for m in a)


@pytest.mark.parametrize("after", [0.0, 0.25, 0.5])
def test_reuse_begins_after_its_share_of_the_steps(after: float) -> None:
    denoiser, _ = outputs(ReuseConfig(after=after, branches_every=STEPS), {"text": 3.0})
    assert denoiser.evaluated.count(frozenset({"text"})) == math.ceil(after * STEPS) + 1
