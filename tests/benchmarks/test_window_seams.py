"""benchmarks/window_seams.py: what counts as a seam, and films of new speakers on a network of random weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from window_seams import changes, clips_of, measured, requests_for, scenes, seam

from talkies.codecs.byte_text import ByteTextEncoder
from talkies.codecs.linear_video import fit
from talkies.codecs.log_mel import LogMelEncoder
from talkies.config.source import load
from talkies.flow.config import WindowsConfig
from talkies.generate.model import Generator
from talkies.generate.windows import Windows
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
    video = fit(config["video"], [torch.rand(FRAMES, 3, SIDE, SIDE, generator=generator) for _ in range(4)])
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
    inside = [changes(still[:10])]
    assert seam(still, Windows(frames=15, overlap=0, total=30), inside) == pytest.approx(1)
    assert seam(jump, Windows(frames=15, overlap=0, total=30), inside) == pytest.approx(10, rel=1e-3)
    assert seam(jump, Windows(frames=17, overlap=4, total=30), inside) == pytest.approx(10, rel=1e-3)
    assert seam(jump, Windows(frames=10, overlap=0, total=30), inside) == pytest.approx(1, rel=1e-3)


def test_a_longer_seam_is_no_worse_where_changes_vary_alike() -> None:
    """The largest of several changes is larger than a single one, but no more so at a seam."""
    noisy = torch.rand(400, 1, 1, 1, generator=torch.Generator().manual_seed(0)).cumsum(0)
    windows = [Windows(frames=20 + overlap, overlap=overlap, total=400) for overlap in (0, 3, 6)]
    assert [seam(noisy, one, [changes(noisy)]) for one in windows] == pytest.approx([1, 1, 1], abs=0.15)


def test_films_of_new_speakers_are_measured(model: Generator) -> None:
    told = [requests_for(model, scene, index) for index, scene in enumerate(scenes(model, 2, 1.6))]
    assert told[0]["sound"].given["sound"].shape == (25600,)
    assert not torch.equal(told[0]["sound"].given["sound"], told[1]["sound"].given["sound"])
    assert told[0]["sound"].image is None
    assert told[0]["all"].image is not None
    sampling, request = replace(model.setup.sampling, steps=1), told[0]["all"]
    asked = [(request, clips_of(model, request, sampling))]
    for overlap, windows in ((0.0, 3), (0.24, 3)):
        count, seconds, jump, score = measured(model, sampling, asked, WindowsConfig(overlap=overlap))
        assert count == windows
        assert min(seconds, jump) > 0
        assert -1 <= score <= 1
