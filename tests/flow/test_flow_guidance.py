from dataclasses import replace

import pytest
import torch
from analytic import GaussianDenoiser, streams, text

from talkies.flow.guidance import FULL, Branch, guided, rungs
from talkies.streams.batch import Condition

CAPTION, COUPLING = 0.75, 0.5
NULL = text(0.25)
CONDITION = Condition(text=text(CAPTION, CAPTION + 1), expert=1)
SCALES = [(1, 1, 1), (5, 1, 2), (3, 3, 2), (1, 3.5, 3), (5, 3.5, 3), (0, 1, 1), (0, 0, 1), (0, 2, 2), (2, 0, 3)]


def at_half() -> dict:
    return {m: replace(s, time=torch.full((2,), 0.5)) for m, s in streams().items()}


@pytest.mark.parametrize(("text_scale", "bridge_scale", "evaluations"), SCALES)
def test_the_ladder_is_the_formula_of_the_report_with_the_fewest_evaluations(
    text_scale: float, bridge_scale: float, evaluations: int
) -> None:
    denoiser = GaussianDenoiser(std=0.7, coupling=COUPLING)
    guide = guided(denoiser, null_text=NULL, text_scale=text_scale, bridge_scale=bridge_scale)
    now = at_half()
    found = guide(now, CONDITION)
    assert len(denoiser.calls) == evaluations
    null = replace(CONDITION, text=text(0.25, 0.25))
    v00, v0b, vtb = (denoiser(now, c) for c in (replace(null, coupled=False), null, CONDITION))
    for m, v in found.items():
        expected = v00[m] + bridge_scale * (v0b[m] - v00[m]) + text_scale * (vtb[m] - v0b[m])
        torch.testing.assert_close(v, expected, rtol=1e-5, atol=1e-5)
        assert v.dtype == torch.float32


@pytest.mark.parametrize(("text_scale", "bridge_scale", "evaluations"), SCALES)
def test_a_branch_is_evaluated_exactly_where_it_has_a_weight(
    text_scale: float, bridge_scale: float, evaluations: int
) -> None:
    """v(0,0) weighs 1 - s_B, v(0,c_B) s_B - s_T, v(c_T,c_B) s_T."""
    weights = {Branch(False, False): 1 - bridge_scale, Branch(False, True): bridge_scale - text_scale, FULL: text_scale}
    assert [branch for branch, _ in rungs(text_scale, bridge_scale)] == [b for b, w in weights.items() if w]
    assert sum(w != 0 for w in weights.values()) == evaluations


def test_scale_one_is_no_guidance() -> None:
    denoiser = GaussianDenoiser(std=0.7, coupling=COUPLING)
    guide = guided(denoiser, null_text=NULL, text_scale=1.0, bridge_scale=1.0)
    now = at_half()
    plain, same = denoiser(now, CONDITION), guide(now, CONDITION)
    assert all(torch.equal(same[m], plain[m]) for m in plain)
    assert denoiser.calls[-1] is CONDITION


def test_conditions_of_the_branches() -> None:
    denoiser = GaussianDenoiser(std=0.7, coupling=COUPLING)
    guided(denoiser, null_text=NULL, text_scale=4.0, bridge_scale=2.0)(at_half(), CONDITION)
    captions = [c.text.embedding.sum(dim=(1, 2)).tolist() for c in denoiser.calls]
    assert captions == [[0.25, 0.25], [0.25, 0.25], pytest.approx([CAPTION, CAPTION + 1])]
    assert [c.coupled for c in denoiser.calls] == [False, True, True]
    assert all(c.text.length.shape == (2,) for c in denoiser.calls)
    assert {c.expert for c in denoiser.calls} == {1}


def test_equal_branches_are_left_exactly_as_they_are() -> None:
    """If a condition changes nothing, no scale adds rounding."""
    denoiser = GaussianDenoiser(std=0.7, coupling=0.0)
    unconditional = replace(CONDITION, text=text(0.25, 0.25))
    now = at_half()
    found = guided(denoiser, null_text=NULL, text_scale=7.3, bridge_scale=3.1)(now, unconditional)
    plain = denoiser(now, unconditional)
    assert all(torch.equal(found[m], plain[m]) for m in plain)


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_one_modality_takes_text_guidance_only(modality: str) -> None:
    denoiser = GaussianDenoiser(std=0.7)
    alone = {modality: at_half()[modality]}
    guided(denoiser, null_text=NULL, text_scale=5.0, bridge_scale=1.0)(alone, CONDITION)
    assert len(denoiser.calls) == 2
    for text_scale in (1.0, 3.5):
        guide = guided(denoiser, null_text=NULL, text_scale=text_scale, bridge_scale=3.5)
        with pytest.raises(ValueError, match=rf"bridge_scale is 3\.5, but only {modality}"):
            guide(alone, CONDITION)
    assert len(denoiser.calls) == 2


def test_uncoupled_modalities_refuse_a_bridge_scale_and_stay_uncoupled() -> None:
    denoiser = GaussianDenoiser(std=0.7)
    apart = replace(CONDITION, coupled=False)
    with pytest.raises(ValueError, match="not coupled"):
        guided(denoiser, null_text=NULL, text_scale=1.0, bridge_scale=2.0)(at_half(), apart)
    guided(denoiser, null_text=NULL, text_scale=2.0, bridge_scale=1.0)(at_half(), apart)
    assert [c.coupled for c in denoiser.calls] == [False, False]


@pytest.mark.parametrize(("name", "value"), [("text_scale", float("nan")), ("bridge_scale", float("inf"))])
def test_scales_are_finite_numbers(name: str, value: float) -> None:
    scales = {"text_scale": 1.0, "bridge_scale": 1.0, name: value}
    with pytest.raises(ValueError, match=name):
        guided(GaussianDenoiser(std=1.0), null_text=NULL, **scales)
