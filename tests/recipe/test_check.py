"""Sections of a phase recipe must agree; a card has a license of the Hub, and says whose voices were learned."""

from dataclasses import replace
from pathlib import Path

import pytest

from talkies.config import RecipeError
from talkies.config.source import load
from talkies.flow.known_config import KnownFrames
from talkies.models.mova.system import MovaSystem
from talkies.models.systems import SYSTEMS
from talkies.recipe.check import check, check_card
from talkies.recipe.config import decode_phase
from talkies.streams.system import Parts, Setup

RECIPES = Path(__file__).parents[2] / "recipes" / "mova"


def checked(recipe: str, *, replicate: int = 1, shard: int, sequence: int) -> None:
    layout = f"parallel={{kind: fsdp2, replicate: {replicate}, shard: {shard}, sequence: {sequence}}}"
    check(decode_phase(load(RECIPES / f"{recipe}.yaml", [layout]), SYSTEMS))


def test_more_ranks_than_audio_tokens_are_refused_with_a_degree_that_fits() -> None:
    """403 audio tokens beside 43,120 of video: the smaller number decides. One rank per token is the limit."""
    checked("joint_phase2", replicate=2, shard=512, sequence=256)
    with pytest.raises(RecipeError) as caught:
        checked("joint_phase2", replicate=2, shard=512, sequence=512)
    assert str(caught.value) == (
        "recipe: `parallel.sequence` 512 shares the 403 audio tokens of a clip (`data.geometry`) among more ranks than "
        "there are tokens; divisors of `parallel.shard` 512 up to 403: 1, 2, 4, 8, 16, 32, 64, 128, 256"
    )
    checked("joint_phase2", shard=403, sequence=403)
    with pytest.raises(RecipeError, match=r"the 403 audio tokens .* 404 up to 403: 1, 2, 4, 101, 202$"):
        checked("joint_phase2", shard=404, sequence=404)


@pytest.mark.parametrize(("phase", "tokens"), [("video_pretraining", "52 video"), ("audio_pretraining", "25 audio")])
def test_only_what_a_phase_trains_counts(phase: str, tokens: str) -> None:
    with pytest.raises(RecipeError, match=f"`parallel.sequence` 64 shares the {tokens} tokens"):
        checked(f"toy/{phase}", shard=64, sequence=64)
    if "video" in phase:
        checked(f"toy/{phase}", shard=32, sequence=32)  # more than the 25 tokens of audio, which it does not train


@pytest.mark.parametrize(
    ("license", "good"),
    [("apache-2.0", True), ("cc-by-nc-sa-4.0", True), ("openrail++", True), ("other", True), ("unknown", True)]
    + [(text, False) for text in ("", "MIT", "my license", "mit<script>", "[x](javascript:alert)", "a|b", "`a`", "-a")],
)
def test_a_license_is_an_identifier(license: str, good: bool) -> None:
    recipe = decode_phase(load(RECIPES / "toy/lora.yaml", [f'tracking.license="{license}"']), SYSTEMS)
    if good:
        check_card(recipe)
        return
    with pytest.raises(RecipeError, match=r"^recipe: `tracking.license` must be an identifier of the Hub"):
        check_card(recipe)


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ("toy/lora", ["precision=bf16"], None),
        (
            "toy/lora",
            ["precision=fp32"],
            r"`compute.masters` is bf16, but `precision` is fp32, .* set `precision`",
        ),
        ("joint_phase1", [], r"joint phases with `train.kind` all train every weight, .* set `train.kind` to lora"),
        ("../mirage/warm_up", [], None),
        ("../mirage/reference", [], r"reference phases with `train.kind` all train every weight"),
    ],
)
def test_bf16_masters_need_frozen_weights_and_bf16_matmuls(
    recipe: str, overrides: list[str], message: str | None
) -> None:
    decoded = decode_phase(load(RECIPES / f"{recipe}.yaml", ["compute.masters=bf16", *overrides]), SYSTEMS)
    if message is None:
        check(decoded)
        return
    with pytest.raises(RecipeError, match=message):
        check(decoded)


@pytest.mark.parametrize("voices", [None, "", "   "])
def test_a_system_that_speaks_with_its_voices_says_whose_they_are(voices: str | None) -> None:
    recipe = decode_phase(load(RECIPES.parent / "mirage_audio/cloning.yaml"), SYSTEMS)
    check_card(recipe)
    with pytest.raises(RecipeError, match=r"^recipe: `tracking.voices` is missing: mirage_audio models speak with"):
        check_card(replace(recipe, tracking=replace(recipe.tracking, voices=voices)))


PHASE = RECIPES / "toy/video_pretraining.yaml"


@pytest.mark.parametrize("sampler", ["ddim", "dpm_sde"])
@pytest.mark.parametrize("target", ["v_prediction", "zero_snr_v_prediction"])
def test_a_sampler_uses_what_the_network_predicts(sampler: str, target: str) -> None:
    words = [f"sampling.sampler.kind={sampler}", f"flow.target={{kind: {target}}}"]
    found = decode_phase(load(PHASE, words), SYSTEMS)
    check(found)
    assert (found.sampling.sampler.kind, found.flow.target.kind) == (sampler, target)
    with pytest.raises(RecipeError, match=r"does not fit `flow\.target\.kind` velocity: use euler$"):
        check(decode_phase(load(PHASE, words[:1]), SYSTEMS))
    with pytest.raises(RecipeError, match=rf"euler does not fit `flow\.target\.kind` {target}: use ddim or dpm_sde$"):
        check(decode_phase(load(PHASE, words[1:]), SYSTEMS))


@pytest.mark.parametrize(
    ("key", "bad"), [("beta_start", 0), ("beta_end", 1.0), ("steps", 1), ("snr_shift", 0.0), ("shift", 3)]
)
def test_a_path_without_meaning_is_refused(key: str, bad: float) -> None:
    with pytest.raises(RecipeError, match=rf"flow\.target\.{key}"):
        decode_phase(load(PHASE, [f"flow.target={{kind: zero_snr_v_prediction, {key}: {bad}}}"]), SYSTEMS)


class Shown(MovaSystem):
    """MOVA with known frames in training."""

    def __init__(self, frames: KnownFrames) -> None:
        self.frames = frames

    def parts(self, setup: Setup) -> Parts:
        return replace(super().parts(setup), known={"video": self.frames})


def test_shares_of_known_frames_are_at_most_all() -> None:
    check(decode_phase(load(PHASE), (Shown(KnownFrames(head=0.7, random=0.2, tail=0.1)),)))
    with pytest.raises(RecipeError) as caught:
        check(decode_phase(load(PHASE), (Shown(KnownFrames(head=0.7, random=0.35)),)))
    assert str(caught.value) == (
        "recipe: the shares of `phase.known_frames` add up to 1.05: lower them to at most 1 in all"
    )
