from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from analytic import GRIDS, text
from scipy import stats

from talkies.flow.config import FlowConfig, StreamFlowConfig
from talkies.flow.draw import gaussian, uniform
from talkies.flow.noising import dropped_text, noised
from talkies.flow.schedule import unshift
from talkies.streams import Grid, Modality
from talkies.streams.batch import Batch, Text

PHASE1 = FlowConfig(video=StreamFlowConfig(shift=5.0), audio=StreamFlowConfig(shift=1.0))
SHARED = replace(PHASE1, times="shared")
TINY: dict[Modality, Grid] = {
    "video": Grid(channels=1, shape=(1, 1, 1), rate=Fraction(6)),
    "audio": Grid(channels=1, shape=(1,), rate=Fraction(25)),
}


def clips(ids: Sequence[str], grids: dict[Modality, Grid] = GRIDS, visits: Sequence[int] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(
        ids=tuple(ids),
        visits=tuple(visits or [0] * len(ids)),
        captions=tuple(ids),
        latents={m: torch.randn(len(ids), *g.latent_shape, generator=generator) for m, g in grids.items()},
        masks={m: torch.ones(len(ids), g.shape[0], dtype=torch.bool) for m, g in grids.items()},
        padded=frozenset(),
        grids=grids,
        image=torch.zeros(len(ids), *grids["video"].latent_shape) if "video" in grids else None,
        text=Text(embedding=text(*[1.0] * len(ids)).embedding, length=torch.full((len(ids),), 2)),
        null_text=Text(embedding=text(0.0).embedding, length=torch.zeros(1, dtype=torch.int64)),
    )


MANY = clips([f"clip-{i}" for i in range(3000)], TINY)


def pick(batch: Batch, rows: list[int]) -> Batch:
    return replace(
        batch,
        ids=tuple(batch.ids[i] for i in rows),
        visits=tuple(batch.visits[i] for i in rows),
        latents={m: x[rows] for m, x in batch.latents.items()},
        text=Text(embedding=batch.text.embedding[rows], length=batch.text.length[rows]),
    )


def test_the_parts_fit_together() -> None:
    batch = clips(["a", "b"], visits=[0, 4])
    times, noise, noisy, targets = noised(batch, PHASE1, seed=7, boundary=0.9, expert=None)
    for m, x0 in batch.latents.items():
        assert times[m].dtype == noise[m].dtype == noisy[m].dtype == targets[m].dtype == torch.float32
        assert times[m].shape == (2,)
        assert torch.equal(noise[m], gaussian(7, ["a", "b"], [0, 4], f"noise/{m}", GRIDS[m].latent_shape))
        assert torch.equal(targets[m], noise[m] - x0)
        level = times[m].view(-1, *[1] * (x0.ndim - 1))
        torch.testing.assert_close(noisy[m] - level * targets[m], x0, rtol=0, atol=1e-6)
        u = unshift(times[m].double(), 5.0 if m == "video" else 1.0)
        torch.testing.assert_close(u, uniform(7, ["a", "b"], [0, 4], f"time/{m}"), rtol=0, atol=1e-5)


def test_a_clip_s_noise_depends_on_its_visit_but_not_on_its_batch() -> None:
    batch = clips(["a", "b", "c"])
    whole = noised(batch, PHASE1, seed=7, boundary=0.9, expert=0)
    part = noised(pick(batch, [2, 0]), PHASE1, seed=7, boundary=0.9, expert=0)
    for all_of_them, two_of_them in zip(whole, part, strict=True):
        assert all(torch.equal(all_of_them[m][[2, 0]], two_of_them[m]) for m in GRIDS)
    again = noised(replace(batch, visits=(1, 1, 1)), PHASE1, seed=7, boundary=0.9, expert=0)
    other = noised(batch, PHASE1, seed=8, boundary=0.9, expert=0)
    for m in GRIDS:
        assert not bool((again.times[m] == whole.times[m]).any() or (other.times[m] == whole.times[m]).any())
        assert not bool((again.noise[m] == whole.noise[m]).any() or (other.noise[m] == whole.noise[m]).any())


def test_independent_times_are_uniform_under_their_own_shifts() -> None:
    times = noised(MANY, PHASE1, seed=0, boundary=0.9, expert=None).times
    u = {"video": unshift(times["video"].double(), 5.0), "audio": times["audio"].double()}
    assert all(stats.kstest(x.numpy(), "uniform").pvalue > 0.01 for x in u.values())
    assert abs(float(torch.corrcoef(torch.stack([u["video"], u["audio"]]))[0, 1])) < 0.06
    assert float((times["video"] >= 0.9).double().mean()) == pytest.approx(5 / 14, abs=0.03)


@pytest.mark.parametrize(("expert", "low", "high"), [(0, 0.9, 1.0), (1, 0.0, 0.9)])
def test_an_expert_restricts_the_video_and_not_the_audio(expert: int, low: float, high: float) -> None:
    times = noised(MANY, PHASE1, seed=0, boundary=0.9, expert=expert).times
    assert float(times["video"].min()) >= low - 1e-6
    assert float(times["video"].max()) <= high
    edge = 9 / 14
    u = unshift(times["video"].double(), 5.0)
    inside = (u - edge) / (1 - edge) if expert == 0 else u / edge
    assert stats.kstest(inside.numpy(), "uniform").pvalue > 0.01
    free = noised(MANY, PHASE1, seed=0, boundary=0.9, expert=None).times
    assert torch.equal(times["audio"], free["audio"])


@pytest.mark.parametrize("expert", [None, 0, 1])
def test_shared_times_are_one_u_under_two_shifts(expert: int | None) -> None:
    times = noised(MANY, SHARED, seed=0, boundary=0.9, expert=expert).times
    u = unshift(times["video"].double(), 5.0)
    torch.testing.assert_close(u, times["audio"].double(), rtol=0, atol=2e-6)
    if expert is not None:
        assert bool(((u >= 9 / 14 - 1e-6) == (expert == 0)).all())


def test_an_expert_needs_video() -> None:
    audio = clips(["a"], {"audio": GRIDS["audio"]})
    assert noised(audio, PHASE1, seed=0, boundary=0.9, expert=None).times.keys() == {"audio"}
    with pytest.raises(ValueError, match="video expert 1"):
        noised(audio, PHASE1, seed=0, boundary=0.9, expert=1)


def test_captions_are_dropped_per_sample_at_the_rate() -> None:
    kept = dropped_text(MANY, seed=0, rate=0.3).length == 2
    assert float((~kept).double().mean()) == pytest.approx(0.3, abs=0.03)
    found = dropped_text(MANY, seed=0, rate=0.3)
    assert torch.equal(found.embedding[kept], MANY.text.embedding[kept])
    assert not bool(found.embedding[~kept].any() or found.length[~kept].any())
    rows = [5, 2999, 17]
    assert torch.equal(dropped_text(pick(MANY, rows), seed=0, rate=0.3).embedding, found.embedding[rows])
    assert bool((dropped_text(MANY, seed=1, rate=0.3).length != found.length).any())


def test_dropout_is_independent_of_the_times() -> None:
    dropped = (dropped_text(MANY, seed=0, rate=0.5).length == 0).double()
    times = noised(MANY, PHASE1, seed=0, boundary=0.9, expert=None).times["audio"].double()
    assert abs(float(torch.corrcoef(torch.stack([dropped, times]))[0, 1])) < 0.06


def test_dropout_extremes_and_what_is_no_rate() -> None:
    assert torch.equal(dropped_text(MANY, seed=0, rate=0.0).embedding, MANY.text.embedding)
    assert not bool(dropped_text(MANY, seed=0, rate=1.0).embedding.any())
    for rate in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="text_dropout"):
            dropped_text(MANY, seed=0, rate=rate)
