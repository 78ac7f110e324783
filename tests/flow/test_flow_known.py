"""Known latent steps: which are drawn for a clip, and how often; and clean beginnings of what is made."""

from collections.abc import Sequence
from dataclasses import fields, replace
from fractions import Fraction

import pytest
import torch
from analytic import GRIDS
from test_flow_noising import MANY, clips, drawn, pick
from torch import Tensor

from talkies.flow.config import CosmapWeighting, FlowConfig, ShiftedSchedule, ZeroSnrVPredictionTarget
from talkies.flow.known import known_by, with_known
from talkies.flow.known_config import KnownFrames
from talkies.flow.noising import Noised, losses_of, noised
from talkies.streams import Grid
from talkies.streams.batch import Batch, Stream

KINDS = [field.name for field in fields(KnownFrames)]
MTV = KnownFrames(
    head=0.22, random=0.01, tail=0.005, head_tail=0.005, interpolate=0.002, quarter_random=0.002,
    quarter_head=0.002, quarter_tail=0.002, quarter_head_tail=0.002,
)  # fmt: skip
STEPS = 13
LONG = clips([f"clip-{i}" for i in range(3000)], {"video": Grid(channels=1, shape=(STEPS, 1, 1), rate=Fraction(6))})


def known(frames: KnownFrames, batch: Batch = LONG, seed: int = 0) -> Tensor:
    return known_by(batch, {"video": frames}, seed=seed)["video"]


def rows(frames: KnownFrames, batch: Batch = LONG) -> set[tuple[int, ...]]:
    """Which steps are known, of all the samples."""
    return {tuple(row.nonzero().flatten().tolist()) for row in known(frames, batch)}


def run(begin: int, count: int) -> tuple[int, ...]:
    return tuple(range(begin, begin + count))


PATTERNS: dict[str, set[tuple[int, ...]]] = {
    "head": {(0,)},
    "tail": {(12,)},
    "head_tail": {(0, 12)},
    "interpolate": {run(0, 13)[::2], run(1, 12)[::2]},
    "quarter_head": {run(0, n) for n in (1, 2, 3)},
    "quarter_tail": {run(13 - n, n) for n in (1, 2, 3)},
    "quarter_head_tail": {(*run(0, n), *run(13 - n, n)) for n in (1, 2, 3)},
    "quarter_random": {run(begin, n) for n in (1, 2, 3) for begin in range(14 - n)},
}


@pytest.mark.parametrize("kind", PATTERNS)
def test_a_kind_has_these_steps_and_no_others(kind: str) -> None:
    assert rows(KnownFrames(**{kind: 1.0})) == PATTERNS[kind]


def test_quarters_are_of_every_length_equally_often() -> None:
    counts = known(KnownFrames(quarter_random=1.0)).sum(1)
    shares = [float((counts == n).double().mean()) for n in (1, 2, 3)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.03)


def test_random_steps_are_known_by_a_chance_of_the_sample() -> None:
    """From 0.1 to 0.9: on average a half, by more than if each step had a chance of a half."""
    found = known(KnownFrames(random=1.0)).double()
    assert float(found.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(found.mean(1).std()) == pytest.approx((0.8**2 / 12 + (0.25 - 0.8**2 / 12) / STEPS) ** 0.5, rel=0.05)
    assert found.mean(0).tolist() == pytest.approx([0.5] * STEPS, abs=0.05)


def test_samples_are_divided_by_the_shares() -> None:
    """Of the released shares: in 0.25 of the samples something is known, mostly the first step."""
    found = known(MTV)
    assert float(found.any(1).double().mean()) == pytest.approx(0.25, abs=0.025)
    first = found[:, 0] & (found.sum(1) == 1)
    assert float(first.double().mean()) == pytest.approx(0.22, abs=0.025)
    assert not bool(known(KnownFrames()).any())


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_something_is_left_to_make(kind: str, steps: int) -> None:
    short = clips([f"clip-{i}" for i in range(60)], {"video": Grid(channels=1, shape=(steps,), rate=Fraction(6))})
    found = known(KnownFrames(**{kind: 1.0}), short)
    assert found.shape == (60, steps)
    assert bool((~found).any(1).all())


def test_known_steps_are_a_function_of_seed_id_and_visit() -> None:
    frames = KnownFrames(random=0.5, quarter_random=0.5)
    whole, some = known(frames), [5, 2999, 17]
    assert torch.equal(known(frames, pick(LONG, some)), whole[some])
    assert not torch.equal(known(frames, seed=1), whole)
    assert not torch.equal(known(frames, replace(LONG, visits=(1,) * 3000)), whole)
    levels = drawn(MANY).times["video"].double()
    both = torch.stack([known(KnownFrames(head=0.5), MANY)[:, 0].double(), levels])
    assert both[0].sum() == 0, "a clip of one step has none that is known"
    both = torch.stack([known(KnownFrames(head=0.5))[:, 0].double(), levels])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.06


FLOWS = [
    FlowConfig(schedule=ShiftedSchedule(), weighting=CosmapWeighting()),
    FlowConfig(target=ZeroSnrVPredictionTarget()),
]
SOME = torch.tensor([[True, False, False], [False, False, False], [True, False, True]])


def drawn_with(batch: Batch, flow: FlowConfig, known_steps: Tensor) -> Noised:
    return noised(batch, flow, ("video", "audio"), seed=0, ranges={}, known={"video": known_steps})


@pytest.mark.parametrize("flow", FLOWS)
def test_known_steps_are_clean_and_the_others_as_ever(flow: FlowConfig) -> None:
    batch = clips(["a", "b", "c"])
    plain, found = drawn(batch, flow), drawn_with(batch, flow, SOME)
    chosen = SOME[:, None, :, None, None].expand_as(batch.streams["video"].latent)
    video = found.streams["video"]
    assert torch.equal(video.time, plain.times["video"][:, None].expand(3, 3).masked_fill(SOME, 0.0))
    assert torch.equal(video.latent[chosen], batch.streams["video"].latent[chosen])
    assert torch.equal(video.latent[~chosen], plain.streams["video"].latent[~chosen])
    assert torch.equal(found.streams["audio"].latent, plain.streams["audio"].latent)
    assert {name: level.tolist() for name, level in found.levels.items()} == {
        name: time.tolist() for name, time in plain.times.items()
    }


@pytest.mark.parametrize("flow", FLOWS)
def test_known_steps_have_no_loss(flow: FlowConfig) -> None:
    """The mean is that of the steps that are made, and no gradient reaches the others."""
    batch = clips(["a", "b", "c"])
    plain, found = drawn(batch, flow), drawn_with(batch, flow, SOME)
    predicted = {m: torch.randn(x.shape, generator=torch.Generator().manual_seed(3)) for m, x in found.targets.items()}
    wrong = predicted["video"].clone().requires_grad_()
    losses, before = losses_of({**predicted, "video": wrong}, found, flow), losses_of(predicted, plain, flow)
    losses["video"].sum().backward()
    assert wrong.grad is not None
    assert torch.equal(wrong.grad.abs().amax((1, 3, 4)) > 0, ~SOME)
    assert torch.equal(losses["audio"], before["audio"])
    torch.testing.assert_close(losses["video"][1], before["video"][1])
    error = (predicted["video"] - plain.targets["video"])[0, :, 1:].square().mean()
    made, whole = losses["video"][0], before["video"][0]
    per_step = (predicted["video"] - plain.targets["video"])[0].square().mean()
    torch.testing.assert_close(made / error, whole / per_step)


@pytest.mark.parametrize("whose", [[True, True], [False, True]])
def test_a_beginning_is_clean_for_the_samples_that_have_one(whose: Sequence[bool]) -> None:
    noise, data = torch.randn(2, 2, 3, 2, 4), torch.randn(2, 2, 2, 2, 4)
    stream = Stream(latent=noise, time=torch.ones(2), grid=GRIDS["video"])
    found = with_known(stream, data, torch.tensor(whose))
    for row, has in enumerate(whose):
        assert found.time[row].tolist() == ([0.0, 0.0, 1.0] if has else [1.0] * 3)
        assert torch.equal(found.latent[row, :, :2], (data if has else noise[:, :, :2])[row])
    assert torch.equal(found.latent[:, :, 2:], noise[:, :, 2:])
