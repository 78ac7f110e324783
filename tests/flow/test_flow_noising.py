from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from analytic import GRIDS, text
from scipy import stats
from torch import Tensor

from talkies.flow.config import (
    CosmapWeighting,
    FlowConfig,
    LinearQuadraticGridSchedule,
    LinearQuadraticSchedule,
    ShiftedSchedule,
    UniformSchedule,
    UniformWeighting,
    VelocityTarget,
    VPredictionTarget,
)
from talkies.flow.draw import gaussian, uniform
from talkies.flow.loss import per_sample_loss
from talkies.flow.noising import Noised, dropped, given_by, losses_of, noised, noised_at, noised_to
from talkies.flow.schedule import inverse_linear_quadratic, level_grid, level_of, unshift
from talkies.flow.target import noisy, target_of
from talkies.streams import Grid
from talkies.streams.batch import Batch, Stream, Text
from talkies.streams.system import Task

PHASE1 = FlowConfig(schedule=ShiftedSchedule(shifts={"video": 5.0, "audio": 1.0}))
SHARED = replace(PHASE1, shared=True)
QUADRATIC = FlowConfig(schedule=LinearQuadraticSchedule(threshold=0.1))
BOTH = ("video", "audio")
HIGH, LOW = {"video": (0.9, 1.0)}, {"video": (0.0, 0.9)}
"""The levels of MOVA's experts."""
TINY: dict[str, Grid] = {
    "video": Grid(channels=1, shape=(1, 1, 1), rate=Fraction(6)),
    "audio": Grid(channels=1, shape=(1,), rate=Fraction(25)),
}


def caption_of(values: Sequence[float], length: int) -> Text:
    return Text(embedding=text(*values).embedding, length=torch.full((len(values),), length))


def clips(ids: Sequence[str], grids: Mapping[str, Grid] = GRIDS, visits: Sequence[int] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    count = len(ids)
    latents = {m: torch.randn(count, *g.latent_shape, generator=generator) for m, g in grids.items()}
    return Batch(
        ids=tuple(ids),
        visits=tuple(visits or [0] * count),
        streams={m: Stream(latent=x, time=torch.zeros(count), grid=grids[m]) for m, x in latents.items()},
        captions={name: tuple(ids) for name in ("text", "sound")},
        texts={"text": caption_of([1.0] * count, 2), "sound": caption_of([2.0] * count, 2)},
        null_texts={"text": caption_of([0.0], 0), "sound": caption_of([0.0], 0)},
    )


MANY = clips([f"clip-{i}" for i in range(3000)], TINY)


def pick(batch: Batch, rows: list[int]) -> Batch:
    return replace(
        batch,
        ids=tuple(batch.ids[i] for i in rows),
        visits=tuple(batch.visits[i] for i in rows),
        streams={m: replace(s, latent=s.latent[rows], time=s.time[rows]) for m, s in batch.streams.items()},
        texts={m: Text(embedding=t.embedding[rows], length=t.length[rows]) for m, t in batch.texts.items()},
    )


def drawn(
    batch: Batch,
    flow: FlowConfig = PHASE1,
    trained: Sequence[str] = BOTH,
    *,
    seed: int = 0,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    given: Mapping[str, Tensor] | None = None,
) -> Noised:
    return noised(batch, flow, trained, seed=seed, ranges=ranges or {}, given=given)


def noise_of(found: Noised, batch: Batch) -> dict[str, Tensor]:
    """The noise of a velocity target."""
    return {m: target + batch.streams[m].latent for m, target in found.targets.items()}


def test_the_parts_fit_together() -> None:
    batch = clips(["a", "b"], visits=[0, 4])
    found = drawn(batch, seed=7)
    for m, stream in batch.streams.items():
        x0, times, x = stream.latent, found.times[m], found.streams[m]
        noise = gaussian(7, ["a", "b"], [0, 4], f"noise/{m}", GRIDS[m].latent_shape)
        assert times.dtype == x.latent.dtype == found.targets[m].dtype == torch.float32
        assert times.shape == (2,)
        assert x.time is times
        assert (x.grid, x.mask, x.role) == (stream.grid, None, "target")
        assert torch.equal(found.targets[m], noise - x0)
        level = times.view(-1, *[1] * (x0.ndim - 1))
        torch.testing.assert_close(x.latent - level * found.targets[m], x0, rtol=0, atol=1e-6)
        u = unshift(times.double(), 5.0 if m == "video" else 1.0)
        torch.testing.assert_close(u, uniform(7, ["a", "b"], [0, 4], f"time/{m}"), rtol=0, atol=1e-5)


def assert_beside(found: Stream, given: Stream) -> None:
    """It is the given stream, in the role of a condition; a reference keeps its own."""
    assert (found.latent is given.latent, found.time is given.time) == (True, True)
    assert (given.role, found.role) == ("target", "condition")


def test_streams_that_are_not_trained_stay_as_they_are() -> None:
    batch = clips(["a", "b"])
    found = drawn(batch, trained=["audio"])
    assert_beside(found.streams["video"], batch.streams["video"])
    assert list(found.targets) == list(found.times) == ["audio"]
    both = drawn(batch)
    assert torch.equal(found.streams["audio"].latent, both.streams["audio"].latent)


def test_a_clip_s_noise_depends_on_its_visit_but_not_on_its_batch() -> None:
    batch = clips(["a", "b", "c"])
    whole = drawn(batch, seed=7, ranges=HIGH)
    part = drawn(pick(batch, [2, 0]), seed=7, ranges=HIGH)
    for m in GRIDS:
        assert torch.equal(whole.times[m][[2, 0]], part.times[m])
        assert torch.equal(whole.targets[m][[2, 0]], part.targets[m])
        assert torch.equal(whole.streams[m].latent[[2, 0]], part.streams[m].latent)
    again = replace(batch, visits=(1, 1, 1))
    for other in (drawn(again, seed=7, ranges=HIGH), drawn(batch, seed=8, ranges=HIGH)):
        noise, before = noise_of(other, batch), noise_of(whole, batch)
        for m in GRIDS:
            assert not bool((other.times[m] == whole.times[m]).any())
            assert not bool((noise[m] == before[m]).any())


def test_independent_times_are_uniform_under_their_own_shifts() -> None:
    times = drawn(MANY).times
    u = {"video": unshift(times["video"].double(), 5.0), "audio": times["audio"].double()}
    assert all(stats.kstest(x.numpy(), "uniform").pvalue > 0.01 for x in u.values())
    assert abs(float(torch.corrcoef(torch.stack([u["video"], u["audio"]]))[0, 1])) < 0.06
    assert float((times["video"] >= 0.9).double().mean()) == pytest.approx(5 / 14, abs=0.03)


@pytest.mark.parametrize(("ranges", "low", "high"), [(HIGH, 0.9, 1.0), (LOW, 0.0, 0.9)])
def test_an_expert_restricts_the_video_and_not_the_audio(
    ranges: dict[str, tuple[float, float]], low: float, high: float
) -> None:
    times = drawn(MANY, ranges=ranges).times
    assert float(times["video"].min()) >= low - 1e-6
    assert float(times["video"].max()) <= high
    edge = 9 / 14
    u = unshift(times["video"].double(), 5.0)
    inside = (u - edge) / (1 - edge) if ranges is HIGH else u / edge
    assert stats.kstest(inside.numpy(), "uniform").pvalue > 0.01
    assert torch.equal(times["audio"], drawn(MANY).times["audio"])


@pytest.mark.parametrize("ranges", [{}, HIGH, LOW])
def test_shared_times_are_one_u_under_two_shifts(ranges: dict[str, tuple[float, float]]) -> None:
    times = drawn(MANY, SHARED, ranges=ranges).times
    u = unshift(times["video"].double(), 5.0)
    torch.testing.assert_close(u, times["audio"].double(), rtol=0, atol=2e-6)
    if ranges:
        assert bool(((u >= 9 / 14 - 1e-6) == (ranges is HIGH)).all())


def test_the_linear_quadratic_schedule_is_one_for_all_streams_and_can_be_restricted() -> None:
    times = drawn(MANY, QUADRATIC, ranges={"audio": (0.2, 0.5)}).times
    found = {m: [inverse_linear_quadratic(float(t), 0.1) for t in times[m].double()] for m in BOTH}
    assert stats.kstest(found["video"], "uniform").pvalue > 0.01
    edges = [inverse_linear_quadratic(level, 0.1) for level in (0.2, 0.5)]
    inside = [(u - edges[0]) / (edges[1] - edges[0]) for u in found["audio"]]
    assert stats.kstest(inside, "uniform").pvalue > 0.01
    assert float(times["audio"].min()) >= 0.2 - 1e-6
    assert float(times["audio"].max()) < 0.5
    shared = drawn(MANY, replace(QUADRATIC, shared=True)).times
    assert torch.equal(shared["video"], shared["audio"])


def test_uniform_draws_and_those_of_a_grid() -> None:
    batch = clips([f"clip{i}" for i in range(400)])
    u = uniform(0, batch.ids, batch.visits, "time/video")
    plain = drawn(batch, FlowConfig(schedule=UniformSchedule())).times["video"]
    assert torch.equal(plain, u.float())
    found = drawn(batch, FlowConfig(schedule=LinearQuadraticGridSchedule(steps=8))).times["video"]
    grid = level_grid(LinearQuadraticSchedule(), "video", 8)[:-1]
    levels, counts = found.unique(return_counts=True)
    assert levels.flip(0).tolist() == pytest.approx(grid, abs=1e-6)
    assert bool((counts > 25).all())


def test_a_grid_without_a_level_in_a_range_is_refused() -> None:
    flow = FlowConfig(schedule=LinearQuadraticGridSchedule(steps=2))
    with pytest.raises(
        ValueError, match=r"flow\.schedule has no noise level between 0\.1 and 0\.2, but steps train there"
    ):
        drawn(clips(["a"]), flow, ranges={"video": (0.1, 0.2)})


def test_an_expert_needs_video() -> None:
    audio = clips(["a"], {"audio": GRIDS["audio"]})
    assert drawn(audio, trained=["audio"]).times.keys() == {"audio"}
    with pytest.raises(ValueError, match="this step trains video, but the clips have only audio"):
        drawn(audio, trained=["audio"], ranges=LOW)


def test_given_samples_have_no_loss() -> None:
    batch = clips(["a", "b", "c"])
    found = drawn(batch, given={"audio": torch.tensor([True, False, True])})
    predicted = {m: torch.randn(target.shape) for m, target in found.targets.items()}
    losses, plain = losses_of(predicted, found, PHASE1), losses_of(predicted, replace(found, given={}), PHASE1)
    assert (losses["audio"] > 0).tolist() == [False, True, False]
    assert torch.equal(losses["audio"][1], plain["audio"][1])
    assert torch.equal(losses["video"], plain["video"])
    predicted["audio"].requires_grad_()
    losses_of(predicted, found, PHASE1)["audio"].sum().backward()
    assert predicted["audio"].grad is not None
    assert predicted["audio"].grad.flatten(1).any(1).tolist() == [False, True, False]


TASKS = {
    "joint": Task(share=0.5),
    "speech": Task(share=0.3, given=frozenset({"video"})),
    "film": Task(share=0.2, given=frozenset({"audio", "video"})),
}


def test_every_sample_has_one_task_with_its_chance() -> None:
    chances = {name: task.share for name, task in TASKS.items()}
    given = given_by(MANY, TASKS, chances, seed=0)
    assert float(given["video"].double().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(given["audio"].double().mean()) == pytest.approx(0.2, abs=0.03)
    assert bool((given["video"] | ~given["audio"]).all()), "who gives the sound gives the video too"
    rows = [5, 2999, 17]
    assert torch.equal(given_by(pick(MANY, rows), TASKS, chances, seed=0)["video"], given["video"][rows])
    assert bool((given_by(MANY, TASKS, chances, seed=1)["video"] != given["video"]).any())
    times = drawn(MANY).times["audio"].double()
    assert abs(float(torch.corrcoef(torch.stack([given["video"].double(), times]))[0, 1])) < 0.06
    assert not any(bool(some.any()) for some in given_by(MANY, TASKS, {"joint": 1.0}, seed=0).values())
    assert all(bool(some.all()) for some in given_by(MANY, TASKS, {"film": 1.0}, seed=0).values())
    assert given_by(MANY, {}, {}, seed=0) == {}


@pytest.mark.parametrize("target", [VelocityTarget(), VPredictionTarget()])
def test_given_samples_are_clean(target: VelocityTarget | VPredictionTarget) -> None:
    """Level 0, and the latent itself; the other samples and streams are as without."""
    batch, flow = clips(["a", "b", "c"]), replace(PHASE1, target=target)
    plain = drawn(batch, flow)
    found = drawn(batch, flow, given={"audio": torch.tensor([True, False, True])})
    assert found.times["audio"].tolist() == [0.0, float(plain.times["audio"][1]), 0.0]
    assert torch.equal(found.streams["audio"].latent[[0, 2]], batch.streams["audio"].latent[[0, 2]])
    assert torch.equal(found.streams["audio"].latent[1], plain.streams["audio"].latent[1])
    assert torch.equal(found.streams["audio"].time, found.times["audio"])
    assert torch.equal(found.streams["video"].latent, plain.streams["video"].latent)


@pytest.mark.parametrize("target", [VelocityTarget(), VPredictionTarget()])
@pytest.mark.parametrize("weighting", [UniformWeighting(), CosmapWeighting()])
@pytest.mark.parametrize("per_step", [False, True])
def test_levels_of_samples_and_of_steps_reach_latent_target_and_loss(
    target: VelocityTarget | VPredictionTarget, weighting: UniformWeighting | CosmapWeighting, per_step: bool
) -> None:
    batch = clips(["a", "b"])
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    batch = replace(batch, streams={**batch.streams, "audio": replace(batch.streams["audio"], mask=mask)})
    flow = replace(PHASE1, target=target, weighting=weighting)
    generator = torch.Generator().manual_seed(3)
    shapes = {m: (2, GRIDS[m].shape[0]) if per_step else (2,) for m in BOTH}
    times = {m: torch.rand(shape, generator=generator) for m, shape in shapes.items()}
    noise = {m: torch.randn(s.latent.shape, generator=generator) for m, s in batch.streams.items()}
    found = noised_to(batch, flow, times, noise)
    predicted = {m: torch.randn(x.shape, generator=generator) for m, x in found.targets.items()}
    losses = losses_of(predicted, found, flow)
    for m, stream in batch.streams.items():
        assert torch.equal(found.streams[m].latent, noisy(target, stream.latent, noise[m], times[m]))
        assert torch.equal(found.targets[m], target_of(target, stream.latent, noise[m], times[m]))
        assert found.streams[m].time is found.times[m] is times[m]
        t = times[m]
        weight = torch.ones_like(t) if weighting.kind == "uniform" else 2 / torch.pi / (1 - 2 * t + 2 * t**2)
        expected = per_sample_loss(predicted[m], found.targets[m], stream.valid, weight)
        torch.testing.assert_close(losses[m], expected)
    assert losses["audio"].shape == (2,)
    junk = predicted["audio"].clone()
    junk[1, :, 3:] = torch.nan
    assert torch.equal(losses_of({**predicted, "audio": junk}, found, flow)["audio"], losses["audio"])


def test_fixed_levels_have_the_noise_of_their_draw_whatever_the_visit() -> None:
    batch = clips(["a", "b"], visits=[0, 4])
    found = noised_at(batch, PHASE1, {"audio": 0.25}, seed=7, draw=3)
    assert found.times["audio"].tolist() == [0.25, 0.25]
    assert_beside(found.streams["video"], batch.streams["video"])
    noise = gaussian(7, ["a", "b"], [3, 3], "heldout/audio", GRIDS["audio"].latent_shape)
    assert torch.equal(found.targets["audio"], noise - batch.streams["audio"].latent)
    assert not torch.equal(
        noised_at(batch, PHASE1, {"audio": 0.25}, seed=7, draw=4).targets["audio"], found.targets["audio"]
    )


@pytest.mark.parametrize("flow", [PHASE1, QUADRATIC])
def test_levels_are_those_of_the_schedule(flow: FlowConfig) -> None:
    times = drawn(MANY, flow).times
    for m in BOTH:
        u = uniform(0, MANY.ids, MANY.visits, f"time/{m}")
        assert torch.equal(times[m], level_of(flow.schedule, m, u).float())


def kept(batch: Batch, name: str = "text") -> Tensor:
    return batch.texts[name].length == 2


def test_captions_are_dropped_per_sample_at_the_rate() -> None:
    found = dropped(MANY, {"text": 0.3}, seed=0)
    keep = kept(found)
    assert float((~keep).double().mean()) == pytest.approx(0.3, abs=0.03)
    features = found.texts["text"]
    assert torch.equal(features.embedding[keep], MANY.texts["text"].embedding[keep])
    assert not bool(features.embedding[~keep].any() or features.length[~keep].any())
    rows = [5, 2999, 17]
    part = dropped(pick(MANY, rows), {"text": 0.3}, seed=0)
    assert torch.equal(part.texts["text"].embedding, features.embedding[rows])
    assert bool((kept(dropped(MANY, {"text": 0.3}, seed=1)) != keep).any())
    assert found.texts["sound"] is MANY.texts["sound"]
    assert found.streams == MANY.streams


def test_dropout_is_independent_of_the_times() -> None:
    gone = (~kept(dropped(MANY, {"text": 0.5}, seed=0))).double()
    times = drawn(MANY).times["audio"].double()
    assert abs(float(torch.corrcoef(torch.stack([gone, times]))[0, 1])) < 0.06


def test_dropout_extremes_and_what_is_no_rate() -> None:
    assert torch.equal(dropped(MANY, {"text": 0.0}, seed=0).texts["text"].embedding, MANY.texts["text"].embedding)
    assert not bool(dropped(MANY, {"text": 1.0}, seed=0).texts["text"].embedding.any())
    assert dropped(MANY, {}, seed=0) == MANY
    for name in ("text", "video", "all"):
        for rate in (-0.1, 1.5, float("nan")):
            with pytest.raises(ValueError, match=f"dropout of {name} .* between 0 and 1"):
                dropped(MANY, {name: rate}, seed=0)


def test_a_dropped_stream_is_masked_as_a_whole() -> None:
    """A sample keeps the mask that it had; the latent itself stays, so that nothing else depends on the dropout."""
    batch = clips([f"clip-{i}" for i in range(300)])
    mask = (torch.arange(5) < torch.arange(300)[:, None] % 5 + 1).clone()
    batch = replace(batch, streams={**batch.streams, "audio": replace(batch.streams["audio"], mask=mask)})
    found = dropped(batch, {"audio": 0.4, "video": 0.4}, seed=0)
    gone = {m: ~found.streams[m].valid.any(1) for m in BOTH}
    for m in BOTH:
        assert float(gone[m].double().mean()) == pytest.approx(0.4, abs=0.1)
        assert torch.equal(found.streams[m].valid[~gone[m]], batch.streams[m].valid[~gone[m]])
        assert found.streams[m].latent is batch.streams[m].latent
    assert bool((gone["video"] != gone["audio"]).any())
    assert found.texts == batch.texts


def test_all_are_dropped_together_besides_each_on_its_own() -> None:
    rates = {"text": 0.2, "sound": 0.2, "video": 0.2, "all": 0.3}
    found = dropped(MANY, rates, seed=0)
    gone = torch.stack([~kept(found, "text"), ~kept(found, "sound"), ~found.streams["video"].valid[:, 0]]).double()
    apart = dropped(MANY, {**rates, "all": 0.0}, seed=0)
    alone = torch.stack([~kept(apart, "text"), ~kept(apart, "sound"), ~apart.streams["video"].valid[:, 0]]).double()
    assert bool((alone <= gone).all())
    together = (gone - alone).bool().any(0) | (gone.bool().all(0))
    assert bool(gone[:, together].bool().all()), "a sample that loses more than its own loses everything"
    assert float(gone.prod(0).mean()) == pytest.approx(0.3 + 0.7 * 0.2**3, abs=0.03)
    assert [float(row.mean()) for row in gone] == [pytest.approx(0.3 + 0.7 * 0.2, abs=0.03)] * 3
    assert found.streams["audio"] is MANY.streams["audio"], "only what the rates name"
    assert abs(float(torch.corrcoef(alone[:2])[0, 1])) < 0.06


GROUPS = {"tracks": ("video", "sound")}
"""A stream and a text, dropped by one rate."""


def test_a_group_is_dropped_together_by_one_draw() -> None:
    """That of the group's name, at its rate, besides what is dropped on its own."""
    rates = {"tracks": 0.3, "text": 0.4}
    found = dropped(MANY, rates, seed=0, groups=GROUPS)
    stream, caption = ~found.streams["video"].valid[:, 0], ~kept(found, "sound")
    assert torch.equal(stream, caption)
    assert torch.equal(stream, uniform(0, MANY.ids, MANY.visits, "dropout/tracks") < 0.3)
    assert float(stream.double().mean()) == pytest.approx(0.3, abs=0.03)
    assert torch.equal(kept(found), kept(dropped(MANY, {"text": 0.4}, seed=0)))
    assert abs(float(torch.corrcoef(torch.stack([stream, ~kept(found)]).double())[0, 1])) < 0.06
    assert found.streams["audio"] is MANY.streams["audio"], "only what the groups name"
    rows = [5, 2999, 17]
    part = dropped(pick(MANY, rows), rates, seed=0, groups=GROUPS)
    assert torch.equal(~part.streams["video"].valid[:, 0], stream[rows])


def test_all_includes_the_conditions_of_groups() -> None:
    rates = {"tracks": 0.2, "text": 0.2, "all": 0.3}
    found, apart = (dropped(MANY, {**rates, "all": all_}, seed=0, groups=GROUPS) for all_ in (0.3, 0.0))
    together = uniform(0, MANY.ids, MANY.visits, "dropout/all") < 0.3
    for name in ("text", "sound"):
        assert torch.equal(~kept(found, name), ~kept(apart, name) | together)
    assert torch.equal(~found.streams["video"].valid[:, 0], ~kept(found, "sound"))


def test_a_member_of_a_group_may_have_a_rate_of_its_own() -> None:
    """It is gone if either draw says so."""
    found = dropped(MANY, {"tracks": 0.3, "sound": 0.4}, seed=0, groups=GROUPS)
    group, own = (uniform(0, MANY.ids, MANY.visits, f"dropout/{name}") for name in ("tracks", "sound"))
    assert torch.equal(~found.streams["video"].valid[:, 0], group < 0.3)
    assert torch.equal(~kept(found, "sound"), (group < 0.3) | (own < 0.4))


def test_the_rate_of_a_group_is_a_probability() -> None:
    with pytest.raises(ValueError, match=r"dropout of tracks .* between 0 and 1"):
        dropped(MANY, {"tracks": 1.5}, seed=0, groups=GROUPS)
    assert not any(
        s.valid.any()
        for s in dropped(MANY, {"tracks": 1.0}, seed=0, groups=GROUPS).streams.values()
        if s is not MANY.streams["audio"]
    )
