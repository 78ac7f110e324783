"""benchmarks/sampling_keys.py: a row per key with its network calls, on a small network of random weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sampling_keys import ALL, PLAIN, Row, arms, differences, measured

from talkies.codecs.byte_text import ByteTextEncoder
from talkies.codecs.linear_video import fit
from talkies.codecs.log_mel import LogMelEncoder
from talkies.config.source import load
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.models.build import build
from talkies.models.systems import SYSTEMS
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe, decode_phase
from talkies.streams.codec import Codecs, Media

RECIPE = Path(__file__).parents[2] / "recipes" / "mirage" / "toy" / "stitch.yaml"
FRAMES, SIDE, FPS, RATE, STEPS = 9, 16, 12.5, 16000, 4
SAMPLES = int(FRAMES / FPS * RATE)


@pytest.fixture(scope="module")
def recipe() -> PhaseRecipe:
    return decode_phase(load(RECIPE, ["validation.sampling_steps=4"]), SYSTEMS)


@pytest.fixture(scope="module")
def model(recipe: PhaseRecipe) -> Generator:
    config, generator = recipe.codecs, torch.Generator().manual_seed(0)
    video = fit(config["video"], [torch.rand(FRAMES, 3, SIDE, SIDE, generator=generator) for _ in range(4)])
    sound, text = LogMelEncoder(config["sound"]), ByteTextEncoder(config["text"])
    return Generator(
        denoiser=build(recipe.system, recipe, parts(recipe).components, seed=0).eval(),
        codecs=Codecs(video={"video": video}, audio={"sound": sound}, text={"text": text}),
        system=recipe.system,
        setup=recipe,
        grids={"video": video.grid(FRAMES, SIDE, SIDE, FPS), "sound": sound.grid(SAMPLES)},
        fps=FPS,
    )


@pytest.fixture(scope="module")
def rows(recipe: PhaseRecipe, model: Generator) -> dict[str, Row]:
    sound = torch.rand(SAMPLES, generator=torch.Generator().manual_seed(1)) - 0.5
    request = Request(prompts={"text": "a face"}, id="a", given={"sound": sound})
    found = measured(recipe, model, [request], steps=STEPS, rounds=1, warmup=0)
    return {row.arm: row for row in found}


def test_every_key_has_a_row_with_its_calls(rows: dict[str, Row]) -> None:
    """Of four steps the last two may reuse. Guidance by text takes three evaluations, and by an annealed scale one
    where it ends at 1; with equal scales the text alone is not evaluated."""
    calls = {
        **dict.fromkeys((PLAIN, "uniform", "linear_quadratic", "linear_quadratic_grid", "attention every 2nd"), 4),
        "half of the steps": 2,
        **dict.fromkeys(("guided by text", "negative prompt"), 12),
        **dict.fromkeys(("guided by sound", ALL, "skip_layer", "skip_layer rescaled"), 8),
        **dict.fromkeys(("annealed", "annealed early", "annealed late"), 10),
        **dict.fromkeys(("branches every 5th", "attention and branches"), 7),
    }
    assert {name: row.calls for name, row in rows.items() if row.left_out is None} == calls
    assert all(row.median is not None and row.median > 0 for row in rows.values())


def test_a_difference_is_that_of_the_key_alone(rows: dict[str, Row]) -> None:
    assert rows[PLAIN].picture is None
    assert rows["uniform"].picture == 0, "the toy's own schedule"
    for name, row in rows.items():
        if name not in (PLAIN, "uniform"):
            assert row.picture is not None, name
            assert row.picture > 0, name
        assert row.sound is None
        assert row.line().startswith(name)


def test_what_the_recipe_refuses_is_left_out_and_says_why(recipe: PhaseRecipe, model: Generator) -> None:
    silent = decode_phase(load(RECIPE.with_name("video_pretraining.yaml")), SYSTEMS)
    grids = {"video": model.grids["video"]}
    network = build(silent.system, silent, parts(silent).components, seed=0).eval()
    other = replace(model, setup=silent, grids=grids, denoiser=network)
    request = Request(prompts={"text": "a face"}, id="a")
    found = {row.arm: row for row in measured(silent, other, [request], steps=2, rounds=1, warmup=0)}
    assert found["guided by sound"].left_out is not None
    assert "`sampling.scales.sound` needs a sound" in found["guided by sound"].line()
    assert {arm.against for arm in arms(silent, 2)} <= {None, *found}


def test_differences_are_those_of_frames_and_of_samples() -> None:
    zero = Media(frames=torch.zeros(2, 3, 4, 4), fps=1.0, samples=torch.full((8,), 0.5), sample_rate=8)
    other = replace(zero, frames=torch.full((2, 3, 4, 4), 0.2), samples=torch.full((8,), 0.25))
    assert differences([other], [zero]) == (pytest.approx(10), pytest.approx(50))
