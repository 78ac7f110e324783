"""benchmarks/window_seams.py: what counts as a seam, and films of new speakers on a network of random weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from window_seams import measured, requests_for, scenes, seam

from talkies.codecs.byte_text import ByteTextEncoder
from talkies.codecs.linear_video import fit
from talkies.codecs.log_mel import LogMelEncoder
from talkies.config.source import load
from talkies.generate.model import Generator
from talkies.models.build import build
from talkies.models.systems import SYSTEMS
from talkies.recipe.components import parts
from talkies.recipe.config import decode_phase
from talkies.streams.codec import Codecs

RECIPE = Path(__file__).parents[2] / "recipes" / "mirage" / "toy" / "reference.yaml"
FRAMES, SIDE, FPS, SAMPLES = 9, 16, 12.5, 11520


@pytest.fixture(scope="module")
def model() -> Generator:
    recipe = decode_phase(load(RECIPE), SYSTEMS)
    config, generator = recipe.codecs, torch.Generator().manual_seed(0)
    video = fit(config["video"], [torch.rand(FRAMES, 3, SIDE, SIDE, generator=generator) for _ in range(4)], seed=0)
    sound, text = LogMelEncoder(config["sound"]), ByteTextEncoder(config["text"])
    grids = {"video": video.grid(FRAMES, SIDE, SIDE, FPS), "sound": sound.grid(SAMPLES)}
    return Generator(
        denoiser=build(recipe.system, recipe, parts(recipe).components, seed=0).eval(),
        codecs=Codecs(video={"video": video}, audio={"sound": sound}, text={"text": text}),
        system=recipe.system,
        setup=recipe,
        grids={**grids, "reference": video.grid(video.still_frames, SIDE, SIDE, FPS)},
        fps=FPS,
    )


def test_a_seam_is_where_the_picture_jumps() -> None:
    still = torch.arange(30.0)[:, None, None, None].expand(30, 3, 2, 2) / 100
    jump = still.clone()
    jump[15:] += 0.09
    assert seam(still, [15], 0) == pytest.approx(1)
    assert seam(still, [10, 20], 4) == pytest.approx(1)
    assert seam(jump, [15], 0) == pytest.approx(10, rel=1e-3)
    assert seam(jump, [13], 4) == pytest.approx(10, rel=1e-3)
    assert seam(jump, [8], 2) == pytest.approx(1 / (1 + 9 * 3 / 22), rel=1e-3), "the jump is elsewhere"
    assert seam(still, [6, 12, 18, 24], 5) is None


def test_a_longer_seam_is_no_worse_where_changes_vary_alike() -> None:
    """The largest of several changes is larger than the median one, but no more so at a seam."""
    noisy = torch.rand(400, 1, 1, 1, generator=torch.Generator().manual_seed(0)).cumsum(0)
    found = [seam(noisy, range(20, 400, 20), overlap) for overlap in (0, 3, 6)]
    assert found == pytest.approx([1, 1, 1], abs=0.15)


def test_films_of_new_speakers_are_measured(model: Generator) -> None:
    told = [requests_for(model, scene, index) for index, scene in enumerate(scenes(model, 2, 1.6))]
    assert told[0]["sound"].given["sound"].shape == (25600,)
    assert not torch.equal(told[0]["sound"].given["sound"], told[1]["sound"].given["sound"])
    assert told[0]["sound"].image is None
    assert told[0]["all"].image is not None
    sampling = replace(model.setup.sampling, steps=1)
    for overlap, windows in ((0.0, 3), (0.24, 3)):
        count, seconds, found = measured(model, sampling, {name: [told[0][name]] for name in told[0]}, overlap)
        assert count == windows
        assert seconds > 0
        assert found["sound"] != found["all"]
        assert all(jump is not None and jump > 0 and -1 <= score <= 1 for jump, score in found.values())
