"""What spoils a reference: how loud, how long, how wide; and that a sound's damage is its own."""

from dataclasses import replace
from itertools import pairwise
from math import log10
from typing import Any

import pytest
import torch
from torch import Tensor

from talkies.config import RecipeError
from talkies.flow.degradation import (
    Draws,
    as_loud,
    band_limited,
    chosen,
    coloured,
    convolved,
    decaying,
    degraded,
    kinds,
)
from talkies.flow.degradation_config import DegradationConfig, check_degradation, check_unused

RATE, COUNT = 16000, 12800
ALL = DegradationConfig(noise=1, reverberation=1, band=1)
NONE: dict[str, Any] = {"noise": 0.0, "reverberation": 0.0, "band": 0.0}
IDS = ("a", "b", "c", "d", "e")
VISITS = (0, 1, 2, 0, 3)
WHOLE = torch.ones(5, COUNT, dtype=torch.bool)


def tone(hertz: float, count: int = COUNT) -> Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(count) / RATE)


def voices() -> Tensor:
    return torch.stack([tone(200 + 70 * i) + 0.3 * tone(3000 + 70 * i) for i in range(5)])


def spoilt(
    samples: Tensor, config: DegradationConfig = ALL, rows: Any = range(5), valid: Tensor = WHOLE, seed: int = 3
) -> Tensor:
    rows = [*rows]
    return degraded(
        samples[rows], valid[rows], config, sample_rate=RATE, seed=seed, name="degraded/reference",
        ids=[IDS[i] for i in rows], visits=[VISITS[i] for i in rows],
    )  # fmt: skip


def only(kind: str, **keys: Any) -> DegradationConfig:
    return replace(DegradationConfig(), **{**NONE, kind: 1.0}, **keys)


def decibel(part: Tensor, whole: Tensor) -> float:
    return 10 * log10(float(part.square().sum() / whole.square().sum()))


def test_a_sound_is_spoilt_alike_in_every_batch_and_order() -> None:
    samples = voices()
    whole = spoilt(samples)
    for rows in ([0], [3], [4, 1], [2, 4, 0, 3, 1]):
        assert torch.equal(spoilt(samples, rows=rows), whole[rows])
    assert not torch.equal(spoilt(samples, seed=4), whole)
    assert all(not torch.equal(whole[i], samples[i]) for i in range(5))


def test_another_visit_is_spoilt_in_another_way() -> None:
    sound = tone(300)[None]

    def at(visit: int) -> Tensor:
        return degraded(
            sound, WHOLE[:1], ALL, sample_rate=RATE, seed=0, ids=["a"], visits=[visit], name="degraded/reference"
        )

    assert torch.equal(at(1), at(1))
    assert not torch.equal(at(1), at(2))


def test_padding_stays_silent_and_nothing_clips() -> None:
    valid = torch.arange(COUNT)[None] < torch.tensor([COUNT, 9000, 4000, 100, 0])[:, None]
    found = spoilt(3 * voices(), valid=valid)
    assert not found[~valid].any()
    assert found.isfinite().all()
    assert float(found.abs().max()) <= 1.0
    assert all(found[i].any() for i in range(4))


def test_silence_stays_silent() -> None:
    assert not spoilt(torch.zeros(5, COUNT)).any()


def test_noise_has_the_ratio_that_is_asked_for() -> None:
    samples = voices()
    for snr in (0.0, 20.0):
        found = spoilt(samples, only("noise", snr_db=(snr, snr)))
        for sound, noisy in zip(samples, found, strict=True):
            scale = float((noisy * sound).sum() / sound.square().sum())  # 1, unless it would have clipped
            assert -decibel(noisy - scale * sound, scale * sound) == pytest.approx(snr, abs=0.3)


@pytest.mark.parametrize(("slope", "expected"), [(0.0, 0.0), (1.0, 3.0), (2.0, 6.0)])
def test_noise_falls_by_so_many_decibel_an_octave(slope: float, expected: float) -> None:
    white = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0))
    power = torch.fft.rfft(coloured(white, slope, RATE)).abs().square()
    hertz = torch.fft.rfftfreq(1 << 16, 1 / RATE)
    bands = [power[(hertz >= low) & (hertz < 2 * low)].mean() for low in (200, 400, 800, 1600, 3200)]
    falls = [10 * log10(float(a / b)) for a, b in pairwise(bands)]
    assert falls == pytest.approx([expected] * 4, abs=0.4)
    assert float(power[0]) < 1e-3


def test_a_room_answers_later_falls_by_60_db_and_does_not_wrap_around() -> None:
    white = torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    room = decaying(white, RATE / 2)
    early, late = room[:800], room[RATE // 2 : RATE // 2 + 800]
    assert decibel(late, early) == pytest.approx(-60, abs=2)
    click = torch.zeros(COUNT)
    click[5000] = 1.0
    answer = convolved(click, room)
    torch.testing.assert_close(answer[5000:], room[: COUNT - 5000], rtol=0, atol=1e-5)
    assert float(answer[:5000].abs().max()) < 1e-5
    exact = torch.nn.functional.conv1d(
        torch.nn.functional.pad(click, (99, 0))[None, None], room[:100].flip(0)[None, None]
    )
    torch.testing.assert_close(convolved(click, room[:100]), exact[0, 0], rtol=0, atol=1e-5)


def test_a_room_is_as_loud_as_asked() -> None:
    samples = 0.3 * voices()
    found = spoilt(samples, only("reverberation", wet=(0.5, 0.5), seconds=(0.3, 0.3)))
    for sound, heard in zip(samples, found, strict=True):
        assert decibel(heard - sound, sound) == pytest.approx(20 * log10(0.5), abs=0.1)


def test_nothing_is_left_above_the_band_and_all_is_below() -> None:
    low, high = tone(1000), tone(3000)
    assert decibel(band_limited(low, 2500, RATE) - low, low) < -30
    assert decibel(band_limited(high, 2500, RATE), high) < -30
    found = spoilt(voices(), only("band", cutoff_hz=(1500.0, 2500.0)))
    power = torch.fft.rfft(found * torch.hann_window(COUNT)).abs().square()
    above = torch.fft.rfftfreq(COUNT, 1 / RATE) > 2600
    assert float((power * above).sum() / power.sum()) < 1e-5


def test_as_loud_has_the_energy_of_the_sound() -> None:
    valid = torch.arange(COUNT) < 5000
    found = as_loud(torch.randn(COUNT), tone(200) * valid, valid)
    assert decibel(found, tone(200) * valid) == pytest.approx(0, abs=1e-3)
    assert not found[5000:].any()


def draws(i: int) -> Draws:
    return Draws(seed=1, id=f"clip-{i}", visit=0, name="degraded/reference")


def test_kinds_come_with_their_probabilities_and_never_none() -> None:
    config = DegradationConfig(noise=0.5, reverberation=0.4, band=0.2)
    drawn = [kinds(config, draws(i)) for i in range(3000)]
    assert all(drawn)
    nothing = 0.5 * 0.6 * 0.8
    both = sum({"noise", "reverberation"} <= found for found in drawn) / 3000
    assert both == pytest.approx(0.5 * 0.4, abs=0.03)
    shares = {kind: sum(kind in found for found in drawn) / 3000 for kind in ("noise", "reverberation", "band")}
    assert sum(shares.values()) == pytest.approx(0.5 + 0.4 + 0.2 + nothing, abs=0.05)
    assert {kinds(only("band"), draws(i)) for i in range(50)} == {frozenset({"band"})}
    assert {kinds(replace(config, band=0.0), draws(i)) for i in range(200)} == {
        frozenset({"noise"}),
        frozenset({"reverberation"}),
        frozenset({"noise", "reverberation"}),
    }


def test_as_many_are_chosen_as_the_share_says_and_each_by_itself() -> None:
    ids = [f"clip-{i}" for i in range(4000)]
    keys: dict[str, Any] = {"seed": 2, "name": "degraded/reference"}
    rows = chosen(0.3, ids=ids, visits=[0] * 4000, **keys)
    assert len(rows) / 4000 == pytest.approx(0.3, abs=0.03)
    for i in (*rows[:3], 0, 1, 2):
        assert chosen(0.3, ids=[ids[i]], visits=[0], **keys) == ([0] if i in rows else [])
    assert chosen(0.0, ids=ids, visits=[0] * 4000, **keys) == []
    assert chosen(1.0, ids=ids[:5], visits=[0] * 5, **keys) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (NONE, r"`phase\.degradation`: `noise`, `reverberation` and `band` are all 0"),
        ({"snr_db": (20.0, 0.0)}, r"`phase\.degradation\.snr_db` is \[20, 0\]: the lower end comes first"),
        ({"seconds": (2.0, 1.0)}, r"`phase\.degradation\.seconds` is \[2, 1\]"),
        ({"wet": (2.0, 1.0)}, r"`phase\.degradation\.wet` is \[2, 1\]"),
        ({"cutoff_hz": (3000.0, 2000.0)}, r"`phase\.degradation\.cutoff_hz` is \[3000, 2000\]"),
        (
            {"cutoff_hz": (3000.0, 9000.0)},
            r"`cutoff_hz` ends at 9000 Hz, but sound of 16000 .* above 8000 Hz: lower it",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message.replace("`cutoff_hz` ends", r"`phase\.degradation\.cutoff_hz` ends")):
        check_degradation(DegradationConfig(**keys), key="phase.degradation", sample_rate=RATE)


@pytest.mark.parametrize(
    ("kind", "name", "ends"),
    [
        ("noise", "snr_db", (5.0, 20.0)),
        ("reverberation", "seconds", (0.2, 1.0)),
        ("reverberation", "wet", (0.3, 0.5)),
        ("band", "cutoff_hz", (1500.0, 4000.0)),
    ],
)
def test_a_key_of_a_kind_that_is_never_drawn_is_refused(kind: str, name: str, ends: tuple[float, float]) -> None:
    drawn: dict[str, Any] = {name: ends}
    never = {**drawn, kind: 0.0}
    check_unused(DegradationConfig(**drawn), key="phase.degradation")
    check_degradation(DegradationConfig(**never), key="phase.degradation", sample_rate=RATE)  # of an old run
    with pytest.raises(RecipeError, match=rf"`degradation\.{name}` is set, but `degradation\.{kind}` is 0"):
        check_unused(DegradationConfig(**never), key="degradation")


def test_a_band_that_is_never_cut_may_reach_above_the_sound() -> None:
    check_degradation(DegradationConfig(band=0.0), key="phase.degradation", sample_rate=8000)


def test_the_defaults_are_fine_for_the_toy_and_for_44_khz() -> None:
    for rate in (RATE, 44100):
        check_degradation(DegradationConfig(), key="phase.degradation", sample_rate=rate)
