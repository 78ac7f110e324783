"""Pictures and metrics of where tracks act, of a small MTV of random weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from track_world import drawn

from talkies.codecs.byte_text import ByteTextEncoder
from talkies.codecs.linear_video import fit
from talkies.codecs.log_mel import LogMelEncoder
from talkies.config.source import load
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.models.build import build
from talkies.models.systems import SYSTEMS
from talkies.recipe.components import parts
from talkies.recipe.config import decode_phase
from talkies.runs.condition_arms import Clips
from talkies.runs.track_ablation import FIGURES, HEATED, heated, remove_figures, track_ablation
from talkies.streams.codec import Codecs
from talkies.world.render import Scene

RECIPE = Path(__file__).parents[2] / "recipes" / "mtv" / "toy" / "visual_mood.yaml"
TRACKS = ("speech", "effects", "music")


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return drawn()[: HEATED + 1]


def small(scenes: Sequence[Scene], *overrides: str) -> tuple[Generator, nn.Module]:
    recipe = decode_phase(load(RECIPE, ["model.initial=scaled", "model.speakers=1", *overrides]), SYSTEMS)
    config = recipe.codecs
    films = [scene.media.frames for scene in scenes if scene.media.frames is not None]
    video, sound = fit(config["video"], films), LogMelEncoder(config["sound"])
    network = build(recipe.system, recipe, parts(recipe).components, seed=0).eval()
    model = Generator(
        denoiser=network,
        codecs=Codecs(video={"video": video}, audio={"sound": sound}, text={"text": ByteTextEncoder(config["text"])}),
        system=recipe.system,
        setup=recipe,
        grids={"video": video.grid(25, 32, 32, 12.5)} | dict.fromkeys(TRACKS, sound.grid(32000)),
        fps=12.5,
        target=recipe.flow.target,
    )
    return model, network


def clips_for(model: Generator, scenes: Sequence[Scene]) -> Clips:
    sound = model.codecs.audio["sound"]
    requests = [
        Request(
            prompts={"text": scene.caption},
            id=f"clip-{number}",
            latents={track: sound.encode(scene.tracks[track][None])[0] for track in TRACKS},
        )
        for number, scene in enumerate(scenes)
    ]
    return Clips(
        requests=requests, real=[scene.media for scene in scenes], reference=None, images=[], passage=None, voices=[],
        speakers=False, scripts=False, scenes=True, films={},
    )  # fmt: skip


def sampling(model: Generator, **changes: Any) -> Any:
    return replace(model.setup.sampling, steps=2, windows=None, **changes)


def test_every_picture_shows_where_tracks_act(tmp_path: Path, scenes: list[Scene]) -> None:
    model, network = small(scenes)
    (tmp_path / "ablation-old.png").touch()
    remove_figures(tmp_path)
    found = track_ablation(model, network, clips_for(model, scenes), TRACKS, sampling(model), seed=0, folder=tmp_path)
    assert [path.name for path in sorted(tmp_path.glob(FIGURES))] == [
        "ablation-bleed.png",
        *(f"ablation-heat-{number:02d}.png" for number in range(HEATED)),
    ]
    with Image.open(tmp_path / "ablation-heat-00.png") as picture:
        assert picture.width == model.grids["video"].shape[0] * 96
    assert found["ablation/heat-speech/area"] == 0.5
    assert found["ablation/heat-effects/area"] == 0.25
    assert 0.1 < found["ablation/heat-speech/heat"] < 0.9
    assert "ablation/heat-music/heat" not in found, "it is pooled"
    assert found["ablation/bleed-50/effects_sync"] <= 1
    assert not any(module._forward_hooks for module in network.modules())


def test_other_clips_than_scenes_are_drawn_but_not_measured(tmp_path: Path, scenes: list[Scene]) -> None:
    model, network = small(scenes)
    clips = replace(clips_for(model, scenes[:2]), scenes=False)
    assert track_ablation(model, network, clips, TRACKS, sampling(model), seed=0, folder=tmp_path) == {}
    assert len([*tmp_path.glob(FIGURES)]) == 2


def test_guidance_does_not_dilute_the_heat(scenes: list[Scene]) -> None:
    """With guidance a half of the evaluations would hear nothing."""
    model, network = small(scenes)
    clips = clips_for(model, scenes[:2])
    plain, guided = (
        heated(model, network, clips, sampling(model, scales=scales), seed=0)[1] for scales in ({}, {"tracks": 3.0})
    )
    assert plain.keys() == {"speech", "effects"}
    assert all(torch.equal(plain[track], guided[track]) for track in plain)
    assert plain["speech"].shape == (2, *model.grids["video"].shape[:1], 2, 2)


def test_tracks_without_an_attention_of_their_own_have_no_heat(scenes: list[Scene]) -> None:
    model, network = small(scenes[:2], "model.injection=shared", "model.music=interval")
    clips = clips_for(model, scenes[:2])
    assert heated(model, network, clips, sampling(model), seed=0)[1].keys() == {"music"}
