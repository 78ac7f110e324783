import math
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from analytic import JOINT, GaussianDenoiser, captioned, streams, text
from torch import Tensor

from talkies.flow.config import AnnealedScale, Scale, SkipLayerConfig
from talkies.flow.guidance import guided
from talkies.flow.ladder import needed, scale_at
from talkies.models.mova.config import AudioPretrainingConfig, MovaConfig, VideoPretrainingConfig
from talkies.models.mova.system import MOVA
from talkies.streams.batch import Condition, Denoiser, Stream
from talkies.streams.system import Rung

CAPTION, COUPLING = 0.75, 0.5
NULLS = {"text": text(0.25)}
CONDITION = replace(captioned(CAPTION, CAPTION + 1), inactive=frozenset({"video_high"}))
SCALES = [(1, 1, 1), (5, 1, 2), (3, 3, 2), (1, 3.5, 3), (5, 3.5, 3), (0, 1, 1), (0, 0, 1), (0, 2, 2), (2, 0, 3)]
LADDER = MOVA.ladder(JOINT)
NEITHER, BRIDGE, BOTH = (rung.without for rung in LADDER)


def at_half() -> dict[str, Stream]:
    return {m: replace(s, time=torch.full((2,), 0.5)) for m, s in streams().items()}


def guide_of(denoiser: Denoiser, text_scale: float, bridge_scale: float) -> Denoiser:
    return guided(denoiser, LADDER, {"text": text_scale, "bridge": bridge_scale}, NULLS, steps=1)(0)


@pytest.mark.parametrize(("text_scale", "bridge_scale", "evaluations"), SCALES)
def test_the_ladder_is_the_formula_of_the_report_with_the_fewest_evaluations(
    text_scale: float, bridge_scale: float, evaluations: int
) -> None:
    denoiser = GaussianDenoiser(std=0.7, coupling=COUPLING)
    now = at_half()
    found = guide_of(denoiser, text_scale, bridge_scale)(now, CONDITION)
    assert len(denoiser.calls) == evaluations
    null = replace(CONDITION, texts={"text": text(0.25, 0.25)})
    apart = replace(null, without=frozenset({"bridge"}))
    v00, v0b, vtb = (denoiser(now, c) for c in (apart, null, CONDITION))
    for m, v in found.items():
        expected = v00[m] + bridge_scale * (v0b[m] - v00[m]) + text_scale * (vtb[m] - v0b[m])
        torch.testing.assert_close(v, expected, rtol=1e-5, atol=1e-5)
        assert v.dtype == torch.float32


@pytest.mark.parametrize(("text_scale", "bridge_scale", "evaluations"), SCALES)
def test_a_branch_is_evaluated_exactly_where_it_has_a_weight(
    text_scale: float, bridge_scale: float, evaluations: int
) -> None:
    """v(0,0) weighs 1 - s_B, v(0,c_B) s_B - s_T, v(c_T,c_B) s_T."""
    weights = {NEITHER: 1 - bridge_scale, BRIDGE: bridge_scale - text_scale, BOTH: text_scale}
    rungs = needed(LADDER, {"text": text_scale, "bridge": bridge_scale}, 0, 1)
    assert [branch for branch, _ in rungs] == [b for b, w in weights.items() if w]
    assert sum(w != 0 for w in weights.values()) == evaluations


def test_scale_one_is_no_guidance() -> None:
    denoiser = GaussianDenoiser(std=0.7, coupling=COUPLING)
    now = at_half()
    plain = denoiser(now, CONDITION)
    for scales in ({"text": 1.0, "bridge": 1.0}, {"text": 1.0}, {}):
        same = guided(denoiser, LADDER, scales, NULLS, steps=1)(0)(now, CONDITION)
        assert all(torch.equal(same[m], plain[m]) for m in plain)
        assert denoiser.calls[-1] is CONDITION


def test_conditions_of_the_branches() -> None:
    denoiser = GaussianDenoiser(std=0.7, coupling=COUPLING)
    guide_of(denoiser, 4.0, 2.0)(at_half(), CONDITION)
    captions = [c.texts["text"].embedding.sum(dim=(1, 2)).tolist() for c in denoiser.calls]
    assert captions == [pytest.approx(values) for values in ([0.25, 0.25], [0.25, 0.25], [CAPTION, CAPTION + 1])]
    assert [c.without for c in denoiser.calls] == [{"bridge"}, frozenset(), frozenset()], "a text is replaced"
    assert all(c.texts["text"].length.shape == (2,) for c in denoiser.calls)
    assert {c.inactive for c in denoiser.calls} == {frozenset({"video_high"})}


def test_equal_branches_are_left_exactly_as_they_are() -> None:
    """If a condition changes nothing, no scale adds rounding."""
    denoiser = GaussianDenoiser(std=0.7, coupling=0.0)
    unconditional = replace(CONDITION, texts={"text": text(0.25, 0.25)})
    now = at_half()
    found = guide_of(denoiser, 7.3, 3.1)(now, unconditional)
    plain = denoiser(now, unconditional)
    assert all(torch.equal(found[m], plain[m]) for m in plain)


@pytest.mark.parametrize(("name", "phase"), [("video", VideoPretrainingConfig()), ("audio", AudioPretrainingConfig())])
def test_one_stream_takes_text_guidance_only(name: str, phase: object) -> None:
    denoiser = GaussianDenoiser(std=0.7)
    ladder = MOVA.ladder(SimpleNamespace(model=MovaConfig(preset="toy"), phase=phase, codecs={}))
    assert [rung.scale for rung in ladder] == [None, "text"]
    guided(denoiser, ladder, {"text": 5.0}, NULLS, steps=1)(0)({name: at_half()[name]}, CONDITION)
    captions = [float(c.texts["text"].embedding[0].sum()) for c in denoiser.calls]
    assert captions == pytest.approx([0.25, CAPTION])
    for text_scale in (1.0, 3.5):
        with pytest.raises(ValueError, match=r"sampling\.scales\.bridge is 3\.5, but there is nothing here to guide"):
            guided(denoiser, ladder, {"text": text_scale, "bridge": 3.5}, NULLS, steps=1)
    assert guided(denoiser, ladder, {"text": 1.0, "bridge": 1.0}, NULLS, steps=1)(0) is denoiser


def test_streams_that_were_uncoupled_stay_so() -> None:
    denoiser = GaussianDenoiser(std=0.7)
    apart = replace(CONDITION, without=frozenset({"bridge"}))
    guide_of(denoiser, 2.0, 1.0)(at_half(), apart)
    assert [c.without for c in denoiser.calls] == [{"bridge"}, {"bridge"}]


def test_an_annealed_scale_is_shown_as_a_recipe_writes_it() -> None:
    scale = AnnealedScale(first=6.0, last=2.0, late=5.0)
    with pytest.raises(
        ValueError, match=r"text is {kind: annealed, first: 6\.0, last: 2\.0, late: 5\.0}, but there is"
    ):
        guided(GaussianDenoiser(std=1.0), LADDER[:1], {"text": scale}, NULLS, steps=4)


@pytest.mark.parametrize(("name", "value"), [("text", math.nan), ("bridge", math.inf)])
@pytest.mark.parametrize("annealed", [False, True])
def test_scales_are_finite_numbers(name: str, value: float, annealed: bool) -> None:
    scale: Scale = AnnealedScale(first=1.0, last=value) if annealed else value
    with pytest.raises(ValueError, match=rf"sampling\.scales\.{name}"):
        guided(GaussianDenoiser(std=1.0), LADDER, {"text": 1.0, "bridge": 1.0, name: scale}, NULLS, steps=4)


@pytest.mark.parametrize("steps", [1, 2, 5, 50])
def test_an_annealed_scale_is_a_half_cosine(steps: int) -> None:
    scale = AnnealedScale(first=6.0, last=2.0)
    values = [scale_at(scale, step, steps) for step in range(steps)]
    assert values[0] == pytest.approx(6.0)
    if steps > 1:
        assert values[-1] == pytest.approx(2.0)
        assert values == sorted(values, reverse=True)
        assert [a + b for a, b in zip(values, reversed(values), strict=True)] == [pytest.approx(8.0)] * steps
        assert values[steps // 4] == pytest.approx(4 + 2 * math.cos(math.pi * (steps // 4) / (steps - 1)))
    assert [scale_at(AnnealedScale(first=3.0, last=3.0), step, steps) for step in range(steps)] == [3.0] * steps


def test_an_annealed_scale_guides_every_step_by_its_value() -> None:
    """And where its value is 1, the denoiser itself is enough."""
    denoiser = GaussianDenoiser(std=0.7, coupling=COUPLING)
    now, scale = at_half(), AnnealedScale(first=5.0, last=1.0)
    at = guided(denoiser, LADDER, {"text": scale, "bridge": 1.0}, NULLS, steps=3)
    null = replace(CONDITION, texts={"text": text(0.25, 0.25)}, without=frozenset({"text"}))
    empty, full = denoiser(now, null), denoiser(now, CONDITION)
    for step, value in enumerate((5.0, 3.0)):
        found = at(step)(now, CONDITION)
        for m, v in found.items():
            torch.testing.assert_close(v, empty[m] + value * (full[m] - empty[m]), rtol=1e-5, atol=1e-5)
    assert at(2) is denoiser


class Additive:
    """A prediction that is the sum of a number per condition that it may use."""

    def __init__(self, numbers: Mapping[str, float]) -> None:
        self.numbers, self.calls = numbers, 0

    def __call__(self, now: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        self.calls += 1
        used = sum(value for name, value in self.numbers.items() if name not in condition.without)
        return {m: torch.full_like(s.latent, used).bfloat16() for m, s in now.items()}


@pytest.mark.parametrize("length", range(1, 6))
def test_a_ladder_of_any_length_is_the_weighted_sum_of_its_evaluations(length: int) -> None:
    """1 + s_1 a_1 + s_2 a_2 + ...: each condition counts with its own scale. Some of them have none, which is 1."""
    names = [f"c{i}" for i in range(1, length)]
    ladder = [Rung(without=frozenset(names))]
    ladder += [Rung(without=frozenset(names[i + 1 :]), scale=name) for i, name in enumerate(names)]
    numbers = {"always": 1.0, **{name: 2.0**i for i, name in enumerate(names)}}
    scales = {name: 1.5 + i for i, name in enumerate(names) if i != 1}
    denoiser = Additive(numbers)
    found = guided(denoiser, ladder, scales, {}, steps=1)(0)(at_half(), Condition(texts={}))
    expected = 1.0 + sum(scales.get(name, 1.0) * numbers[name] for name in names)
    for m, v in found.items():
        assert v.unique().tolist() == [expected], m
        if length > 1:
            assert v.dtype == torch.float32
    assert denoiser.calls == length


def test_a_condition_that_a_rung_adds_may_be_several() -> None:
    """One scale for two conditions together, and a system whose conditions are no texts."""
    ladder = (Rung(without=frozenset({"a", "b"})), Rung(without=frozenset(), scale="both"))
    denoiser = Additive({"a": 1.0, "b": 2.0})
    found = guided(denoiser, ladder, {"both": 3.0}, {}, steps=1)(0)(at_half(), Condition(texts={}))
    assert {value for v in found.values() for value in v.unique().tolist()} == {9.0}


def test_a_negative_text_takes_the_place_of_the_empty_one_sample_by_sample() -> None:
    denoiser = GaussianDenoiser(std=0.7, coupling=COUPLING)
    negative, scales = {"text": text(0.5, -0.5)}, {"text": 3.0, "bridge": 2.0}
    found = guided(denoiser, LADDER, scales, negative, steps=1)(0)(at_half(), CONDITION)
    away = replace(CONDITION, texts=negative)
    none, bridge, both = (
        denoiser(at_half(), c) for c in (replace(away, without=frozenset({"bridge"})), away, CONDITION)
    )
    for m, v in found.items():
        expected = none[m] + 2.0 * (bridge[m] - none[m]) + 3.0 * (both[m] - bridge[m])
        torch.testing.assert_close(v, expected, rtol=1e-5, atol=1e-5)


class Layered(GaussianDenoiser):
    """Its prediction is halved where blocks are skipped."""

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        found = super().__call__(streams, condition)
        return {m: v / 2 if condition.skipped else v for m, v in found.items()}


@pytest.mark.parametrize(("scales", "evaluations"), [({}, 2), ({"text": 4.0}, 3), ({"text": 0.0}, 3)])
def test_skip_layer_guidance_leads_away_from_the_prediction_without_the_layers(
    scales: dict[str, float], evaluations: int
) -> None:
    denoiser, config = Layered(std=0.7, coupling=COUPLING), SkipLayerConfig(layers=(1, 3), scale=1.5)
    plain = guided(denoiser, LADDER, scales, NULLS, steps=1)(0)(at_half(), CONDITION)
    full = denoiser(at_half(), CONDITION)
    denoiser.calls.clear()
    found = guided(denoiser, LADDER, scales, NULLS, steps=1, skip_layer=config)(0)(at_half(), CONDITION)
    assert len(denoiser.calls) == evaluations
    assert [c.skipped for c in denoiser.calls if c.skipped] == [frozenset({1, 3})]
    for m, v in found.items():
        torch.testing.assert_close(v, plain[m] + 1.5 * (full[m] - full[m] / 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rescale", [0.25, 1.0])
def test_rescaling_moves_each_sample_s_deviation_towards_the_full_one_s(rescale: float) -> None:
    denoiser, far = Layered(std=0.7), SkipLayerConfig(layers=(0,), scale=6.0)
    wide, found = (
        guided(denoiser, LADDER, {}, NULLS, steps=1, skip_layer=config)(0)(at_half(), CONDITION)
        for config in (far, replace(far, rescale=rescale))
    )
    full = denoiser(at_half(), CONDITION)
    for m, v in found.items():
        deviation = {name: x.flatten(1).std(1) for name, x in (("full", full[m]), ("wide", wide[m]), ("found", v))}
        expected = rescale * deviation["full"] + (1 - rescale) * deviation["wide"]
        torch.testing.assert_close(deviation["found"], expected, rtol=1e-4, atol=1e-5)
