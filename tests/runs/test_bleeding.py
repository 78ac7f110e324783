"""What is measured where speech bleeds into the effects that a model is given."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from track_world import SAMPLING, TRACKS, clips_for, drawn, fitted, model_of

from talkies.codecs.linear_video import LinearVideoCodec
from talkies.runs.bleeding import PERCENT, bled, bleeding, draw_bleeding
from talkies.runs.condition_metrics import ablation_table
from talkies.world.bands import split
from talkies.world.render import Scene


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return drawn()[:6]


@pytest.fixture(scope="module")
def codec(scenes: list[Scene]) -> LinearVideoCodec:
    return fitted(scenes)


def measured(codec: LinearVideoCodec, scenes: list[Scene], tracks: Any = TRACKS) -> dict[str, float]:
    model = model_of(codec)
    clips = clips_for(model, scenes, [scene.media for scene in scenes])
    return bleeding(model, clips, tracks, SAMPLING, seed=0)


def test_effects_fade_into_speech(scenes: list[Scene]) -> None:
    for share in (0.0, 0.3, 1.0):
        clip = bled(scenes[0].media, share)
        assert clip.samples is not None
        parts = split(clip.samples, clip.sample_rate)
        for track, part in (("effects", 1 - share), ("speech", share)):
            wanted = part * scenes[0].tracks[track]
            assert (parts[track] - wanted).square().mean() <= 0.02 * scenes[0].tracks[track].square().mean()
        assert parts["music"].abs().max() < 1e-4


def test_a_lamp_that_follows_its_track_follows_the_speech_in_it(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    found = measured(codec, scenes)
    labels = [f"bleed-{percent}" for percent in PERCENT]
    assert {key.split("/")[1] for key in found} == {*labels}
    lamp = [found[f"ablation/{label}/effects_sync"] for label in labels]
    crossed = [found[f"ablation/{label}/effects_speech"] for label in labels]
    assert lamp[0] > 0.9
    assert lamp == sorted(lamp, reverse=True)
    assert crossed == sorted(crossed)
    assert lamp[-1] < lamp[0] - 0.1
    assert crossed[-1] > crossed[0] + 0.2
    mouths = {found[f"ablation/{label}/speech_sync"] for label in labels}
    assert len(mouths) == 1, "the speech itself is as it was"
    assert len(ablation_table(found)) == len(labels) + 1


def test_bleed_needs_both_tracks_and_scenes(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    assert measured(codec, scenes, ["effects", "music"]) == {}
    model = model_of(codec)
    still = [replace(scene.media, frames=torch.zeros(25, 3, 32, 32)) for scene in scenes]
    assert bleeding(model, clips_for(model, scenes, still), TRACKS, SAMPLING, seed=0) == {}


def test_the_curves_are_drawn_where_bleed_was_measured(tmp_path: Path) -> None:
    draw_bleeding({"ablation/bleed-0/effects_sync": 0.9}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    metrics = {f"ablation/bleed-{percent}/effects_sync": 1 - percent / 100 for percent in PERCENT}
    draw_bleeding(metrics, tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.width > picture.height
