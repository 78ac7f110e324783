"""The plan of sampling on one GPU: bytes by hand for MOVA at full size, and what fits which card."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from talkies.codecs.config import CogVideoXVideoConfig, WanVideoConfig
from talkies.codecs.geometry import video_grid
from talkies.codecs.network_sizes import RELEASED, network_bytes, video_vae
from talkies.config import RecipeError
from talkies.config.source import load
from talkies.flow.config import ReuseConfig
from talkies.models.systems import SYSTEMS
from talkies.planning.codec_memory import decoding, encoding
from talkies.planning.render_sampling import render_sampling
from talkies.planning.sampling import SamplingPlan, plan_sampling
from talkies.recipe.check import check
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe, decode_phase

RECIPES = Path(__file__).parents[2] / "recipes" / "mova"
VIDEO, AUDIO, TEXT = (5120, 13824, 4 * 36, 4 * 16), (1536, 8960, 128, 128), 4096
"""Width, hidden width of the feed-forward, values of a patch in and out."""


def recipe(*overrides: str, path: str = "joint_phase2.yaml") -> PhaseRecipe:
    return decode_phase(load(RECIPES / path, overrides), SYSTEMS)


def planned(phase: PhaseRecipe, card: int | None = None) -> SamplingPlan:
    return plan_sampling(phase, components=parts(phase).components, grids=check(phase), card=card)


@cache
def full() -> SamplingPlan:
    """Released MOVA at 352x640x193."""
    return planned(recipe())


def block(width: int, hidden: int, *_: int) -> int:
    """Bytes: two attentions and the feed-forward in bf16; norm3, two norms of each attention and modulation in fp32."""
    lowered = 2 * (4 * width * width + 4 * width) + 2 * width * hidden + hidden + width
    return 2 * lowered + 4 * (2 * width + 4 * width + 6 * width)


def ends(width: int, hidden: int, patch: int, out: int) -> int:
    """Bytes: patch and text embeddings in bf16; time embedding and projection, head and its modulation in fp32."""
    lowered = width * patch + width + TEXT * width + width + width * width + width
    time = 256 * width + width + width * width + width + 6 * width * width + 6 * width
    return 2 * lowered + 4 * (time + width * out + out + 2 * width)


def conditioner(width: int, memory: int) -> int:
    lowered = 2 * (width * width + width) + 2 * (memory * width + width)
    return 2 * lowered + 4 * (2 * memory + 2 * width)


VIDEO_BYTES, AUDIO_BYTES = 40 * block(*VIDEO) + ends(*VIDEO), 30 * block(*AUDIO) + ends(*AUDIO)
BRIDGE_BYTES = 30 * (conditioner(5120, 1536) + conditioner(1536, 5120))


@pytest.mark.slow
def test_bytes_by_hand() -> None:
    none, component, streamed = full().settings
    both = AUDIO_BYTES + BRIDGE_BYTES
    assert none.weights == 2 * VIDEO_BYTES + both
    assert component.weights == VIDEO_BYTES + both
    assert streamed.weights == ends(*VIDEO) + ends(*AUDIO) + 2 * block(*VIDEO)
    units = 40 * block(*VIDEO) + 30 * block(*AUDIO) + BRIDGE_BYTES
    assert (none.per_step, component.per_step, streamed.per_step) == (0, 0, full().evaluations * units)
    vae = 4 * 126_892_531
    assert none.codecs == RELEASED["umt5"] + RELEASED["mova_dac"] + vae
    assert component.host == streamed.host == none.weights + none.codecs
    assert component.per_clip == component.host
    # Keys and values of 512 words in every block, and the words themselves; of both experts, for prompt and null text.
    each = 512 * 2 * (2 * (40 * 2 + 1) * 5120 + (30 * 2 + 1) * 1536)
    assert full().texts == 2 * each
    assert component.evaluating == component.weights + full().activations + full().texts + full().latents
    residual = 43_120 * 5120 * 4
    assert 4 * residual < full().activations < 14 * residual


@pytest.mark.slow
@pytest.mark.parametrize(("card", "chosen"), [(24, "block"), (48, "component"), (80, "component"), (141, "none")])
def test_cards_are_told_apart(card: int, chosen: str) -> None:
    fitting = [one.offload for one in full().settings if one.device <= card * 10**9]
    assert fitting[0] == chosen


def test_the_toy_fits_as_it_is_and_says_so() -> None:
    phase = recipe(path="toy/joint_phase2.yaml")
    plan = planned(phase, 24)
    built = sum(p.numel() for p in phase.system.network().build(phase, parts(phase).components).parameters())
    assert plan.settings[0].weights == 4 * built, "its precision is fp32"
    assert plan.chosen == "none"
    assert "fits a GPU of 24 GB: none, component, block; chosen, the fastest: --offload none" in render_sampling(plan)
    assert [one["fits"] for one in plan.to_json()["settings"]] == [True] * 3


def test_reuse_and_guidance_are_counted() -> None:
    phase = recipe(path="toy/joint_phase2.yaml")
    guided: Any = replace(phase.sampling, scales={"text": 3.0}, reuse=ReuseConfig(attention_every=2, branches_every=2))
    plain, more = planned(phase), planned(replace(phase, sampling=guided))
    assert (plain.evaluations, more.evaluations) == (1, 2)
    assert more.texts == 2 * plain.texts > 0
    assert more.reused > plain.reused == 0


def test_a_card_that_nothing_fits_is_refused() -> None:
    phase = recipe(path="toy/joint_phase2.yaml")
    with pytest.raises(RecipeError, match=r"sampling \S+ needs at least .* GB on the device .*, but the GPU has 0 GB"):
        planned(phase, 0)


def test_a_vae_whose_sizes_nothing_tells_is_not_planned() -> None:
    with pytest.raises(
        RecipeError, match=r"^plan: the cogvideox codec has 12 channels, but the released one, .* has 16"
    ):
        video_vae(CogVideoXVideoConfig(channels=12))


def test_tiles_bound_encoding_as_they_bound_decoding() -> None:
    """Encoding takes its most with the second piece of four frames, whatever follows."""
    config = WanVideoConfig()
    vae = video_vae(config)
    assert vae is not None
    grid = video_grid(config, frames=9, height=720, width=1280, fps=24.0)
    whole, tiled = encoding(vae, grid, None), encoding(vae, grid, 256)
    assert whole >= 12 * 2**30
    assert tiled <= 1.1 * whole * 256**2 / (720 * 1280)
    assert encoding(vae, grid, 1280) == whole


def test_a_vae_that_needs_the_whole_picture_is_tiled_in_decoding_alone() -> None:
    """CogVideoX's holds what its convolutions keep, whatever follows the second part."""
    config = CogVideoXVideoConfig()
    vae = video_vae(config)
    assert vae is not None
    assert network_bytes(config, vae) == 4 * 215_583_907
    grid, longer = (video_grid(config, frames=frames, height=480, width=720, fps=24.0) for frames in (17, 49))
    assert encoding(vae, grid, 256) == encoding(vae, grid, None) >= 10 * 2**30
    assert decoding(vae, grid, 256) <= 1.1 * decoding(vae, grid, None) * 256**2 / (480 * 720)
    assert decoding(vae, longer, None) <= 1.01 * decoding(vae, grid, None)


def test_tiles_are_the_way_out_where_pictures_need_the_most() -> None:
    """At 720p decoding takes more than any network that is streamed; tiles cannot be offered twice."""
    size = "data.geometry=720x1280x9@24"
    with pytest.raises(
        RecipeError, match=r"when decoding\), .* are missing; set `sampling\.tiles` \(--tiles\), or take"
    ):
        planned(recipe(size, "sampling.steps=2"), card=12)
    assert planned(recipe(size, "sampling.steps=2", "sampling.tiles={size: 256}"), card=12).chosen == "block"
